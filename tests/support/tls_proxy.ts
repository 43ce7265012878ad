/**
 * Speaks TLS in front of a server that doesn't, as load balancers do.
 *
 * @module
 */

/** Starts it on a free port of 127.0.0.1, before the port `target`. */
export function startTlsProxy(
  target: number,
  files: { cert: string; key: string },
): { port: number; stop(): Promise<void> } {
  const listener = Deno.listenTls({
    hostname: "127.0.0.1",
    port: 0,
    cert: Deno.readTextFileSync(files.cert),
    key: Deno.readTextFileSync(files.key),
  });
  const open = new Set<Deno.Conn>();
  const serve = async (client: Deno.TlsConn) => {
    const server = await Deno.connect({ hostname: "127.0.0.1", port: target });
    open.add(client).add(server);
    // Who doesn't trust the certificate leaves in the middle of the handshake.
    await Promise.allSettled([
      client.readable.pipeTo(server.writable),
      server.readable.pipeTo(client.writable),
    ]);
    open.delete(client);
    open.delete(server);
  };
  const accepting = (async () => {
    const serving: Promise<void>[] = [];
    for await (const client of listener) serving.push(serve(client));
    await Promise.allSettled(serving);
  })();
  return {
    port: listener.addr.port,
    async stop() {
      listener.close();
      for (const connection of open) {
        try {
          connection.close();
        } catch (error) {
          if (!(error instanceof Deno.errors.BadResource)) throw error;
        }
      }
      await accepting;
    },
  };
}
