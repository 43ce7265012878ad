/**
 * The WebSocket subprotocols of the stream: how a client that can't send headers, such as a page, says who it is.
 *
 * @module
 */

/** The subprotocol of the stream. Offering none is fine; a client that offers its token has to offer this one too. */
export const streamProtocol = "tapehouse.v1";
const tokenProtocol = "tapehouse.bearer.";

/** Which of the offered subprotocols the stream answers with: never the one that carries a token. */
export function spokenProtocol(offered: string | null): string | undefined {
  return protocolsOf(offered).find((name) => name === streamProtocol);
}

/** The token in `tapehouse.bearer.<token in base64url>`, where a client that can't send headers puts it. */
export function offeredToken(offered: string | null): string | undefined {
  const name = protocolsOf(offered).find((name) => name.startsWith(tokenProtocol));
  if (name === undefined) return undefined;
  try {
    const bytes = Uint8Array.fromBase64(name.slice(tokenProtocol.length), { alphabet: "base64url" });
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

const protocolsOf = (offered: string | null) => (offered ?? "").split(",").map((name) => name.trim());
