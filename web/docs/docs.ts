/**
 * `/docs`: Swagger UI over the OpenAPI document that stands in the page, so that it needs neither a token nor another
 * request. It follows the page's theme, finds operations by any of their words, and its requests go to this API alone.
 *
 * @module
 */

/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

/** An immutable map of Swagger UI. */
interface ReadonlyTree {
  get(name: string): ReadonlyTree;
  set(name: string, value: unknown): ReadonlyTree;
  map(change: (item: ReadonlyTree) => unknown): ReadonlyTree;
  filter(keep: (item: ReadonlyTree) => boolean): ReadonlyTree;
  readonly size: number;
  toJS(): unknown;
}

interface SwaggerUi {
  layoutActions: { updateFilter(words: string | false): void };
  preauthorizeApiKey(scheme: string, value: string): void;
}

declare const SwaggerUIBundle: {
  (options: Record<string, unknown>): SwaggerUi;
  presets: { apis: unknown };
};

/** Where the live page keeps the token of this tab. */
const tokenKey = "tapehouse token";

interface OpenApi {
  paths?: Record<string, { get?: { parameters?: Parameter[] } }>;
}

interface Parameter {
  required?: boolean;
  schema?: { example?: unknown };
}

const root = document.documentElement;
const text = document.getElementById("openapi")?.textContent ?? "{}";
const search = document.getElementById("search") as HTMLInputElement;
const nothing = document.getElementById("nothing") as HTMLElement;

followTheme();
const ui = SwaggerUIBundle({
  dom_id: "#api",
  // Behind a proxy the API may stand in a folder.
  spec: {
    ...withoutGuesses(JSON.parse(text)),
    servers: [{ url: new URL(".", location.href).href.replace(/\/$/, "") }],
  },
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [() => ({ fn: { opsFilter: withWords } })],
  // Nobody else is asked whether the document is valid.
  validatorUrl: null,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  displayRequestDuration: true,
  supportedSubmitMethods: ["get"],
  onComplete() {
    const token = sessionStorage.getItem(tokenKey);
    if (token) ui.preauthorizeApiKey("token", token);
    search.addEventListener("input", find);
    find();
    root.dataset.ready = "";
  },
});

/** Swagger UI fills in examples: fine where something must stand, but a range that nobody chose holds nothing. */
function withoutGuesses(openapi: OpenApi): OpenApi {
  for (const { get } of Object.values(openapi.paths ?? {})) {
    for (const { required, schema } of get?.parameters ?? []) if (!required) delete schema?.example;
  }
  return openapi;
}

function find(): void {
  nothing.hidden = true;
  ui.layoutActions.updateFilter(search.value.trim() || false);
}

/** Keeps the operations that have all words: in their address, summary, description or parameters. */
function withWords(tags: ReadonlyTree, phrase: string): ReadonlyTree {
  const words = phrase.toLowerCase().split(/\s+/);
  const found = tags.map((tag) =>
    tag.set(
      "operations",
      tag.get("operations").filter((operation) => {
        const all = JSON.stringify(wordsOf(operation.toJS())).toLowerCase();
        return words.every((word) => all.includes(word));
      }),
    )
  ).filter((tag) => tag.get("operations").size > 0);
  nothing.hidden = found.size > 0;
  return found;
}

/** What is searched of an operation: not its answers, which have the same columns again and again. */
function wordsOf(described: unknown): unknown {
  const { path, operation } = described as { path: string; operation: Record<string, unknown> };
  return [path, operation.summary, operation.description, operation.parameters];
}

/** `?theme=dark` or `light`, as the live page has it; else the system's. The button turns it over. */
function followTheme(): void {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = new URLSearchParams(location.search).get("theme");
  const show = () => {
    const theme = chosen === "dark" || chosen === "light" ? chosen : dark.matches ? "dark" : "light";
    root.dataset.theme = theme;
    root.classList.toggle("dark-mode", theme === "dark");
  };
  dark.addEventListener("change", show);
  document.getElementById("theme")?.addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    const address = new URL(location.href);
    address.searchParams.set("theme", chosen);
    history.replaceState(null, "", address);
    show();
  });
  show();
}
