/**
 * Finds SQL whose numbers would depend on the time zone of the server, of the session or of nobody knows what: a type or
 * a function of time that could name its zone and doesn't. tests/analytics/sql_zones_test.ts holds all SQL of the project to it.
 *
 * What takes its zone from its argument (`toStartOfHour`, `toDate`, `dateDiff`, `formatDateTime`) is right where each
 * time has a zone, so it needs no rule of its own.
 *
 * @module
 */

/** A place without a zone. */
export interface Zoneless {
  /** From 1. */
  line: number;
  /** As it stands there. */
  found: string;
  /** What to write instead. */
  expected: string;
}

/** Functions that can take a zone, with the number of arguments before it; lower case, for ClickHouse takes any. */
const zonedFunctions: Record<string, number> = {
  now: 0,
  nowinblock: 0,
  now64: 1,
  nowinblock64: 1,
  todatetime: 1,
  todatetime32: 1,
  todatetime64: 2,
  parsedatetime: 2,
  parsedatetime32: 2,
  parsedatetimeinjodasyntax: 2,
  parsedatetimebesteffort: 1,
  parsedatetimebesteffortus: 1,
  parsedatetime32besteffort: 1,
  parsedatetime64: 2,
  parsedatetime64injodasyntax: 2,
  parsedatetime64besteffort: 2,
  parsedatetime64besteffortus: 2,
  fromunixtimestamp64second: 1,
  fromunixtimestamp64milli: 1,
  fromunixtimestamp64micro: 1,
  fromunixtimestamp64nano: 1,
  makedatetime: 6,
  makedatetime64: 8,
};

/** Functions that know no zone but the server's, and what says the same with one. */
const zonelessFunctions: Record<string, string> = {
  today: "toDate(now('UTC'))",
  curdate: "toDate(now('UTC'))",
  current_date: "toDate(now('UTC'))",
  yesterday: "toDate(now('UTC')) - 1",
  timestamp: "toDateTime64(…, 6, 'UTC')",
  fromunixtimestamp: "toDateTime(…, 'UTC')",
};

/** Right without a zone, and why. */
const allowed = [
  // The moment is the same in every zone, and the column gives it its own.
  /DateTime64\((\d), 'UTC'\) DEFAULT now64\(\1\)/g,
  // A number since the epoch; no zone enters it.
  /toUnixTimestamp64Micro\(now64\(6\)\)/g,
  // The tables' column `time`, which has a zone: without a second argument it is kept. ClickHouse writes TTLs like this.
  /toDateTime\(time\)/g,
];

/** Finds them in SQL. */
export function zonelessTimes(sql: string): Zoneless[] {
  // What is taken out leaves its room, so that places stay what they are.
  const blank = (text: string) => text.replace(/[^\n]/g, " ");
  const text = allowed.reduce(
    (left, pattern) => left.replace(pattern, blank),
    // A query's header declares its parameters' types in comments.
    sql.replace(/--(?! param ).*/g, blank),
  );
  const places: (Zoneless & { at: number })[] = [];
  const add = (at: number, found: string, expected: string) =>
    places.push({ at, line: text.slice(0, at).split("\n").length, found, expected });

  for (const match of text.matchAll(/\bDateTime(32|64)?\b(?:\(([^()]*)\))?/g)) {
    const [found, bits, args = ""] = match;
    if (/\\?'[\w/+-]+\\?'/.test(args)) continue;
    // A word about the type, such as in a comparison of its name, and not a use of it.
    if (
      !found.includes("(") && !/(?:::|\{\w+:\s*|\bAS\s+|\(|[\w`] {1,2})$/.test(text.slice(0, match.index))
    ) {
      continue;
    }
    add(match.index, found, bits === "64" ? "DateTime64(6, 'UTC')" : "DateTime('UTC')");
  }
  for (const match of text.matchAll(/\b([a-z]\w*)\s*\(/gi)) {
    const [opening, name = ""] = match;
    const key = name.toLowerCase();
    const args = argumentsAt(text, match.index + opening.length);
    const found = `${name}(${args.join(",")})`;
    if (Object.hasOwn(zonelessFunctions, key)) {
      add(match.index, found, zonelessFunctions[key]!);
      continue;
    }
    const before = zonedFunctions[key.replace(/or(zero|null|default)$/, "")];
    if (before !== undefined && !/^\s*\\?['{]/.test(args[before] ?? "")) {
      const zone = before === 0 ? "'UTC'" : `${args.slice(0, before).join(",").trim() || "…"}, 'UTC'`;
      add(match.index, found, `${name}(${zone})`);
    }
  }
  return places.sort((left, right) => left.at - right.at).map(({ at: _, ...place }) => place);
}

/** The arguments of a call whose first one begins at `start`; none when it has none. */
function argumentsAt(text: string, start: number): string[] {
  const args: string[] = [];
  let depth = 0;
  let begin = start;
  let quoted = false;
  for (let at = start; at < text.length; at++) {
    const letter = text[at]!;
    if (letter === "'" && text[at - 1] !== "\\") quoted = !quoted;
    if (quoted) continue;
    if ("([{".includes(letter)) depth++;
    else if (letter === "," && depth === 0) {
      args.push(text.slice(begin, at));
      begin = at + 1;
    } else if (")]}".includes(letter) && depth-- === 0) {
      args.push(text.slice(begin, at));
      break;
    }
  }
  return args.length === 1 && args[0]!.trim() === "" ? [] : args;
}

/**
 * The texts of a TypeScript file, comments and code left out: the file itself, with everything that isn't in a text
 * blanked. `${…}` of a template counts as code, and leaves `?` there.
 */
export function textsOf(source: string): string {
  const out = [...source.replace(/[^\n]/g, " ")];
  /** What is open: "`" a template, "{" a block, "$" the code inside a template. */
  const open: string[] = [];
  /** The last letter of code that isn't white: it tells a division from a regular expression. */
  let last = "";
  let at = 0;
  const inTemplate = () => open.at(-1) === "`";
  while (at < source.length) {
    const letter = source[at]!;
    if (inTemplate()) {
      if (letter === "\\") {
        out[at] = letter;
        out[at + 1] = source[at + 1] ?? "";
        at += 2;
      } else if (letter === "`") {
        open.pop();
        last = letter;
        at++;
      } else if (source.startsWith("${", at)) {
        out[at] = "?";
        open.push("$");
        last = "{";
        at += 2;
      } else {
        out[at++] = letter;
      }
      continue;
    }
    if (source.startsWith("//", at) || source.startsWith("/*", at)) {
      const line = source[at + 1] === "/";
      const end = source.indexOf(line ? "\n" : "*/", at + 2);
      at = end === -1 ? source.length : end + (line ? 0 : 2);
      continue;
    }
    if (letter === "/" && /[(,=:[!&|?{};+<>]|^$/.test(last)) {
      let inClass = false;
      for (at++; at < source.length && (inClass || source[at] !== "/"); at++) {
        if (source[at] === "\\") at++;
        else if (source[at] === "[") inClass = true;
        else if (source[at] === "]") inClass = false;
      }
      last = "/";
      at++;
      continue;
    }
    if (letter === '"' || letter === "'") {
      for (at++; at < source.length && source[at] !== letter && source[at] !== "\n"; at++) {
        out[at] = source[at]!;
        if (source[at] === "\\") out[++at] = source[at]!;
      }
      last = letter;
      at++;
      continue;
    }
    if (letter === "`") open.push("`");
    else if (letter === "{") open.push("{");
    else if (letter === "}") open.pop();
    if (/\S/.test(letter)) last = letter;
    at++;
  }
  return out.join("");
}
