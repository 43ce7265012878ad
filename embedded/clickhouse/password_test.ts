import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { announceAccess, keptPassword } from "./password.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

async function withHome(body: (home: string) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "tapehouse-password-" });
  try {
    await body(`${home}/new`);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

const mode = async (path: string) => ((await Deno.stat(path)).mode ?? 0) & 0o777;
const names = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name).sort();

Deno.test("password: made once, long, kept for its owner alone", () =>
  withHome(async (home) => {
    const made = await keptPassword(home);
    assert.match(made, /^[\w-]{32}$/);
    assert.equal(await keptPassword(home), made);
    assert.equal(await mode(`${home}/clickhouse`), 0o700);
    assert.equal(await mode(`${home}/clickhouse/password`), 0o600);
    assert.deepEqual(names(`${home}/clickhouse`), ["password"]);
    assert.notEqual(await keptPassword(`${home}/other`), made);
  }));

Deno.test("password: many starts at once agree on one", () =>
  withHome(async (home) => {
    const all = await Promise.all(Array.from({ length: 50 }, () => keptPassword(home)));
    assert.equal(new Set(all).size, 1);
    assert.deepEqual(names(`${home}/clickhouse`), ["password"]);
  }));

Deno.test("password: a start that is killed amid leaves a whole one or none", () =>
  withHome(async (home) => {
    const code = `import { keptPassword } from "./embedded/clickhouse/password.ts";
      for (let i = 0;; i++) await keptPassword(${
      JSON.stringify(home)
    } + "/" + i).then(() => console.log("."));`;
    const file = `${home}.ts`;
    await Deno.writeTextFile(file, code.replace("./embedded", `${root}/embedded`));
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "-q", file],
      stdout: "piped",
    }).spawn();
    let dots = 0;
    for await (const chunk of child.stdout) {
      dots += chunk.length;
      if (dots > 100) break;
    }
    child.kill("SIGKILL");
    await child.status;
    for (const name of names(home)) {
      const folder = `${home}/${name}/clickhouse`;
      const password = await keptPassword(`${home}/${name}`);
      assert.match(password, /^[\w-]{32}$/, name);
      for (const file of names(folder)) assert.equal(await mode(`${folder}/${file}`), 0o600);
    }
  }));

Deno.test("password: what a server takes stands in a netrc for its owner alone; the next one replaces it", () =>
  withHome(async (home) => {
    const path = `${home}/clickhouse/netrc`;
    await announceAccess(home, { url: "http://127.0.0.1:1", user: "a", password: "b" });
    await announceAccess(home, { url: "http://127.0.0.1:2", user: "c", password: "d e" });
    assert.match(await Deno.readTextFile(path), /:2\nmachine 127\.0\.0\.1 login c password "d e"\n$/);
    assert.equal(await mode(path), 0o600);
    assert.deepEqual(names(`${home}/clickhouse`), ["netrc"]);
  }));
