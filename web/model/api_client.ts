/**
 * The REST API: one request a call, errors as the problem's own text, the token where one is asked for.
 *
 * @module
 */

/** What the API refused or couldn't do; `message` is for people. */
export class ApiError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
    this.name = "ApiError";
  }
}

/** A page of a list; `next` goes into the parameter `cursor`. */
interface Page<Row> {
  data: Row[];
  next: string | null;
}

/** Parameters of a request; those that are undefined are left out. */
type Parameters = Record<string, string | number | boolean | undefined>;

/** A request waits so often after an answer that says "too many". */
const maxWaits = 3;

/** How long a 429 says to wait, in ms: seconds in `Retry-After`, between a half and ten. */
export function retryAfterMs(header: string | null): number {
  const seconds = /^\d{1,5}$/.test(header ?? "") ? Number(header) : 1;
  return Math.min(10, Math.max(0.5, seconds)) * 1000;
}

/** `problem+json` → the sentence that a person reads; other bodies → the status. */
export function problemText(status: number, body: string): string {
  try {
    const problem = JSON.parse(body) as { title?: unknown; detail?: unknown };
    const parts = [problem.title, problem.detail].filter((part) => typeof part === "string" && part !== "");
    if (parts.length > 0) return [...new Set(parts)].join(": ");
  } catch {
    // Not from this API: a proxy in between, for example.
  }
  return `The API answered with status ${status}.`;
}

/**
 * Makes the client.
 *
 * @param options.token the token at this moment, null without one
 * @param options.askToken called on 401; resolves when there is a new token
 */
export function createRest(options: {
  token: () => string | null;
  askToken: (problem: string) => Promise<void>;
  fetch?: typeof fetch;
  /** For tests; rejects when the signal fires. */
  wait?: (ms: number, signal?: AbortSignal) => Promise<void>;
}) {
  const send = options.fetch ?? fetch;
  const wait = options.wait ?? waitFor;

  /**
   * GET `path`.
   *
   * @throws {ApiError} with the problem's text; status 0 when the API can't be reached
   */
  async function get<Answer>(
    path: string,
    parameters: Parameters = {},
    signal?: AbortSignal,
  ): Promise<Answer> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) {
      if (value !== undefined) query.set(name, String(value));
    }
    const address = query.size > 0 ? `${path}?${query}` : path;
    let waits = 0;
    while (true) {
      const token = options.token();
      let response: Response;
      let body: string;
      try {
        response = await send(address, {
          headers: token === null ? {} : { authorization: `Bearer ${token}` },
          ...(signal && { signal }),
        });
        body = await response.text();
      } catch (error) {
        if (signal?.aborted) throw error;
        throw new ApiError(0, "The API can't be reached.");
      }
      if (response.status === 401) {
        // Another request may have got a new token meanwhile.
        if (options.token() === token) await options.askToken(problemText(401, body));
        continue;
      }
      if (response.status === 429 && waits < maxWaits) {
        waits++;
        await wait(retryAfterMs(response.headers.get("retry-after")), signal);
        continue;
      }
      if (!response.ok) throw new ApiError(response.status, problemText(response.status, body));
      try {
        return JSON.parse(body) as Answer;
      } catch {
        throw new ApiError(response.status, `${path} answered with something that isn't JSON.`);
      }
    }
  }

  return {
    get,
    list: <Row>(path: string, parameters?: Parameters, signal?: AbortSignal) =>
      get<Page<Row>>(path, parameters, signal),
  };
}

function waitFor(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

/** The client that createRest makes. */
export type Rest = ReturnType<typeof createRest>;
