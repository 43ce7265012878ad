/**
 * Stands between the consumer and ClickHouse and does what networks and full servers do.
 *
 * @module
 */

/**
 * What becomes of a statement: it is passed on (`pass`); it is passed on and the connection closed instead of an answer
 * (`lose answer`); it is passed on and the answer kept (`hold answer`); it is answered here, without ClickHouse.
 */
export type Verdict = "pass" | "lose answer" | "hold answer" | { status: number; body: string };

/** A proxy that runs. */
export interface ClickHouseProxy {
  url: string;
  /** Decides about each insert: the table that it goes to, and the statement's name. */
  onInsert: (table: string, name: string | null) => Verdict;
  /** Decides about every other statement, of which it gets the first 500 bytes. */
  onQuestion: (statement: string) => Verdict;
  /** How many inserts met which verdict; an answer of its own counts as `refused`. */
  counts: Record<"pass" | "lose answer" | "hold answer" | "refused", number>;
  stop(): Promise<void>;
}

/**
 * Starts a proxy in front of the server that `target` names at each request. It reads HTTP/1.1 from the sockets itself:
 * an HTTP server can't close a connection in place of an answer.
 */
export function startClickHouseProxy(target: () => string): ClickHouseProxy {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections = new Set<Deno.TcpConn>();

  async function serve(connection: Deno.TcpConn): Promise<void> {
    connections.add(connection);
    const input = createInput(connection);
    try {
      for (
        let request = await readRequest(input);
        request !== undefined;
        request = await readRequest(input)
      ) {
        const answer = await decide(request);
        if (answer === "lose answer") break;
        // The client gives up, or the test ends.
        if (answer === "hold answer") continue;
        await writeAll(connection, answer);
      }
    } catch (error) {
      if (!isEnd(error)) throw error;
    } finally {
      connections.delete(connection);
      close(connection);
    }
  }

  async function decide(
    { method, path, authorization, body }: HttpRequest,
  ): Promise<Uint8Array | "lose answer" | "hold answer"> {
    // Rows come with the statement in the address; a statement without rows is the body.
    const parameters = new URL(path, target()).searchParams;
    const query = parameters.get("query") ??
      new TextDecoder().decode(body.subarray(0, 500));
    const table = /^\s*INSERT INTO (\w+)/i.exec(query)?.[1];
    const verdict = table === undefined
      ? proxy.onQuestion(query)
      : proxy.onInsert(table, parameters.get("query_id"));
    if (table !== undefined) proxy.counts[typeof verdict === "string" ? verdict : "refused"]++;
    if (typeof verdict === "object") {
      return httpAnswer(verdict.status, new TextEncoder().encode(verdict.body));
    }
    const answer = await fetch(target() + path, {
      method,
      headers: { authorization },
      ...(body.length > 0 ? { body } : {}),
    });
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return verdict === "pass" ? httpAnswer(answer.status, bytes) : verdict;
  }

  const accepting = (async () => {
    for await (const connection of listener) serve(connection);
  })();

  const proxy: ClickHouseProxy = {
    url: `http://127.0.0.1:${listener.addr.port}`,
    onInsert: () => "pass",
    onQuestion: () => "pass",
    counts: { pass: 0, "lose answer": 0, "hold answer": 0, refused: 0 },
    async stop() {
      listener.close();
      await accepting;
      connections.forEach(close);
    },
  };
  return proxy;
}

interface HttpRequest {
  method: string;
  /** With the query. */
  path: string;
  /** Who asks. */
  authorization: string;
  body: Uint8Array<ArrayBuffer>;
}

/** What a connection has sent, by lines and by lengths; undefined at its end. */
interface Input {
  line(): Promise<string | undefined>;
  bytes(length: number): Promise<Uint8Array | undefined>;
}

function createInput(connection: Deno.TcpConn): Input {
  let held = new Uint8Array();
  const chunk = new Uint8Array(65536);

  async function more(): Promise<boolean> {
    const read = await connection.read(chunk);
    if (read === null) return false;
    const joined = new Uint8Array(held.length + read);
    joined.set(held);
    joined.set(chunk.subarray(0, read), held.length);
    held = joined;
    return true;
  }
  function shiftBytes(length: number): Uint8Array {
    const taken = held.slice(0, length);
    held = held.slice(length);
    return taken;
  }

  return {
    async line() {
      for (;;) {
        const end = held.indexOf(10);
        if (end >= 0) return new TextDecoder().decode(shiftBytes(end + 1)).trimEnd();
        if (!await more()) return undefined;
      }
    },
    async bytes(length) {
      while (held.length < length) if (!await more()) return undefined;
      return shiftBytes(length);
    },
  };
}

/** Undefined when the connection ends before a request is whole. */
async function readRequest(input: Input): Promise<HttpRequest | undefined> {
  const [method, path] = (await input.line())?.split(" ") ?? [];
  if (method === undefined || path === undefined) return undefined;
  let length = 0;
  let authorization = "";
  let chunked = false;
  for (let line = await input.line(); line !== ""; line = await input.line()) {
    if (line === undefined) return undefined;
    const [name = "", value = ""] = line.split(": ");
    switch (name.toLowerCase()) {
      case "authorization":
        authorization = value;
        break;
      case "content-length":
        length = Number(value);
        break;
      case "transfer-encoding":
        chunked = value.toLowerCase() === "chunked";
    }
  }
  if (!chunked) {
    const body = await input.bytes(length);
    return body && { method, path, authorization, body: new Uint8Array(body) };
  }
  const parts: Uint8Array[] = [];
  for (;;) {
    const size = parseInt(await input.line() ?? "", 16);
    const part = Number.isNaN(size) ? undefined : await input.bytes(size);
    if (part === undefined || await input.line() === undefined) return undefined;
    if (size === 0) break;
    parts.push(part);
  }
  return {
    method,
    path,
    authorization,
    body: new Uint8Array(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer()),
  };
}

function httpAnswer(status: number, body: Uint8Array): Uint8Array {
  const head = new TextEncoder().encode(`HTTP/1.1 ${status} -\r\ncontent-length: ${body.length}\r\n\r\n`);
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** The client is gone, ClickHouse is gone, or the test is over: in each case so is the connection. */
function isEnd(error: unknown): boolean {
  return error instanceof TypeError || error instanceof Deno.errors.BadResource ||
    error instanceof Deno.errors.Interrupted || error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionAborted;
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
