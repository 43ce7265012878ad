/** The subprotocols that the page offers. @module */

/**
 * What a WebSocket offers so that its server knows the token: a page can't set its headers, and an address stands in
 * logs. A subprotocol's name has few letters, so the token is in base64url.
 */
export function streamProtocols(token: string | null): string[] {
  const protocols = ["tapehouse.v1"];
  if (token !== null) {
    const bytes = new TextEncoder().encode(token);
    const base64 = btoa(String.fromCharCode(...bytes));
    const encoded = base64.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
    protocols.push(`tapehouse.bearer.${encoded}`);
  }
  return protocols;
}
