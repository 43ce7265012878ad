"""A second opinion on sql/: the same statistics of the same trades by pandas and numpy.

Reads trades as JSON lines (stdin) and prints one JSON object: what is asked for by name -> rows. Decimals are exact
(Python's decimal), as strings without zeros at the end; what doesn't exist is null. Run by formulas_test.ts.
"""

import json
import math
import sys
from decimal import ROUND_DOWN, Decimal, localcontext

import numpy as np
import pandas as pd

MINUTES_PER_YEAR = 365 * 24 * 60
FREQUENCIES = {"s": "s", "m": "min", "h": "h", "d": "D"}


def plain(value):
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def rows(frame):
    return [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def cut(value):
    return value.quantize(Decimal(1).scaleb(-18), rounding=ROUND_DOWN)


def starts(times, interval):
    """The start of each time's interval: counted from 1970-01-01, weeks from a Monday."""
    count, unit = int(interval[:-1]), interval[-1]
    if unit == "w":
        monday = pd.Timestamp("1970-01-05", tz="UTC")
        return monday + (times - monday).floor(f"{7 * count}D")
    return times.floor(f"{count}{FREQUENCIES[unit]}")


def candles(trades, interval):
    """Intervals with trades; decimals."""
    groups = trades.groupby(starts(trades.index, interval))
    table = pd.DataFrame(
        {
            "open": groups["price"].first(),
            "high": groups["price"].max(),
            "low": groups["price"].min(),
            "close": groups["price"].last(),
            "volume": groups["size"].sum(),
            "quote_volume": groups["value"].sum(),
            "buy_volume": groups["bought"].sum(),
            "trades": groups["price"].size(),
        }
    )
    table["sell_volume"] = table["volume"] - table["buy_volume"]
    table["vwap"] = [cut(quote / base) for quote, base in zip(table["quote_volume"], table["volume"])]
    table.index.name = "time"
    return table


def imbalance(table):
    return (table["buy_volume"] - table["sell_volume"]).astype(float) / table["volume"].astype(float)


def minutes(trades, until):
    """Every minute from the first trade on, as floats; one without trades repeats the close before it."""
    ohlc = trades["price"].astype(float).resample("1min").ohlc()
    index = pd.date_range(ohlc.index[0], until, freq="1min", inclusive="left")
    ohlc = ohlc.reindex(index)
    ohlc["close"] = ohlc["close"].ffill()
    for column in ("open", "high", "low"):
        ohlc[column] = ohlc[column].fillna(ohlc["close"])
    ohlc["log_return"] = np.log(ohlc["close"]).diff()
    return ohlc


def volatility(ohlc):
    r = ohlc["log_return"].dropna().to_numpy()
    range_ = np.log(ohlc["high"] / ohlc["low"]).to_numpy()
    body = np.log(ohlc["close"] / ohlc["open"]).to_numpy()
    year = MINUTES_PER_YEAR
    return {
        "minutes": len(ohlc),
        "returns": len(r),
        "realized_volatility": np.sqrt(np.mean(np.square(r)) * year),
        "parkinson": np.sqrt(np.mean(np.square(range_)) / (4 * np.log(2)) * year),
        "garman_klass": np.sqrt(
            np.mean(0.5 * np.square(range_) - (2 * np.log(2) - 1) * np.square(body)) * year
        ),
    }


def within(frame, start, end):
    return frame[(frame.index >= start) & (frame.index < end)]


def of_product(trades, start, end, intervals):
    answers = {}
    for interval in intervals:
        answers[f"candles {interval}"] = rows(candles(trades, interval).reset_index())
    hours = candles(trades, "1h")
    floats = hours[["open", "close", "volume"]].astype(float)
    hours["return"] = floats["close"] / floats["open"] - 1
    hours["order_flow_imbalance"] = imbalance(hours)
    hours["mean_trade_size"] = floats["volume"] / hours["trades"]
    answers["hourly_stats"] = rows(hours.rename_axis("hour").reset_index())

    quarters = candles(within(trades, start, end), "15m")
    quarters["order_flow_imbalance"] = imbalance(quarters)
    answers["order_flow"] = rows(quarters[["order_flow_imbalance", "trades"]].reset_index())

    closes = candles(within(trades, start, end), "5m")["close"].astype(float)
    falls = pd.DataFrame({"drawdown": closes / closes.cummax() - 1})
    answers["drawdown"] = rows(falls.rename_axis("time").reset_index())

    sizes = sorted(within(trades, start, end)["size"])
    at = {f"p{round(100 * p):02}": sizes[math.floor(p * len(sizes))] for p in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)}
    answers["trade_sizes"] = [
        {
            name: plain(value)
            for name, value in {
                "trades": len(sizes),
                "mean": float(np.mean(np.array(sizes, dtype=float))),
                "smallest": sizes[0],
                **at,
                "largest": sizes[-1],
            }.items()
        }
    ]
    answers["volatility"] = [
        {name: plain(value) for name, value in volatility(within(minutes(trades, end), start, end)).items()}
    ]
    return answers


def rolling_24h(trades, moment):
    since = moment - pd.Timedelta(hours=24)
    day = within(trades, since, moment)
    before = trades[trades.index < since]
    opened = (before["price"].iloc[-1] if len(before) else day["price"].iloc[0])
    last = day["price"].iloc[-1]
    return {
        "open": opened,
        "high": max(day["price"]),
        "low": min(day["price"]),
        "last": last,
        "volume": sum(day["size"], Decimal(0)),
        "quote_volume": sum(day["value"], Decimal(0)),
        "trades": len(day),
        "change": last - opened,
        "change_ratio": float(last) / float(opened) - 1,
    }


def slope(x, y):
    """Of the line of least squares; nan where x doesn't vary."""
    if np.ptp(x) == 0:
        return math.nan
    return np.linalg.lstsq(np.column_stack([x, np.ones_like(x)]), y, rcond=None)[0][0]


def main():
    start, end = (pd.Timestamp(text, tz="UTC") for text in sys.argv[1:3])
    intervals = sys.argv[3].split(",")
    moments = sys.argv[4].split(",")
    trades = pd.DataFrame([json.loads(line) for line in sys.stdin])
    trades["price"] = trades["price"].map(Decimal)
    trades["size"] = trades["size"].map(Decimal)
    trades["value"] = trades["price"] * trades["size"]
    trades["bought"] = trades["size"].where(trades["taker_side"] == "buy", Decimal(0))
    trades = trades.set_index(pd.to_datetime(trades["time"], format="ISO8601", utc=True))
    products = {
        product: group.sort_values("trade_id", kind="stable") for product, group in trades.groupby("product_id")
    }

    answers = {}
    for product, group in products.items():
        for name, table in of_product(group, start, end, intervals).items():
            answers[f"{name} {product}"] = table
        for moment in moments:
            answers[f"rolling_24h {moment} {product}"] = [
                {name: plain(value) for name, value in rolling_24h(group, pd.Timestamp(moment, tz="UTC")).items()}
            ]

    returns = pd.DataFrame(
        {product: within(minutes(group, end), start, end)["log_return"] for product, group in products.items()}
    )
    matrix = returns.corr()
    answers["correlations"] = [
        {"product_x": x, "product_y": y, "correlation": plain(matrix.loc[x, y])}
        for x in sorted(products)
        for y in sorted(products)
    ]
    for product in products:
        pairs = returns[[product, "BTC-USD"]].dropna() if product != "BTC-USD" else returns[["BTC-USD"]].dropna()
        x = pairs["BTC-USD"].to_numpy()
        answers[f"beta_to_btc {product}"] = [{"minutes": len(x), "beta": plain(slope(x, pairs[product].to_numpy()))}]
    json.dump(answers, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    with localcontext(prec=120):
        main()
