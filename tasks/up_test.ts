import assert from "node:assert/strict";
import { join } from "node:path";
import { parseEnv } from "node:util";
import {
  addHashes,
  addPasswords,
  dockerProblem,
  ensurePasswords,
  type Finished,
  generatePassword,
  hashes,
  mounted,
  openMounted,
  passwords,
} from "./up.ts";

const names = ["A_PASSWORD", "B_PASSWORD"];
const generate = () => "new";

const envs: { title: string; before: string; after: string; added: string[] }[] = [
  {
    title: "an empty .env gets every password",
    before: "",
    after: "A_PASSWORD=new\nB_PASSWORD=new\n",
    added: ["A_PASSWORD", "B_PASSWORD"],
  },
  {
    title: "a password that has a value is never changed",
    before: "A_PASSWORD=mine\nB_PASSWORD='also $mine'\n",
    after: "A_PASSWORD=mine\nB_PASSWORD='also $mine'\n",
    added: [],
  },
  {
    title: "comments, blank lines and other variables stay as they are",
    before: "# my settings\n\nCOINBASE_PRODUCTS=BTC-USD # one\nA_PASSWORD=mine\n",
    after: "# my settings\n\nCOINBASE_PRODUCTS=BTC-USD # one\nA_PASSWORD=mine\nB_PASSWORD=new\n",
    added: ["B_PASSWORD"],
  },
  {
    title: "a variable without a value is filled in where it stands",
    before: 'A_PASSWORD=\n# b\nexport B_PASSWORD = ""\nC=1\n',
    after: "A_PASSWORD=new\n# b\nexport B_PASSWORD =new\nC=1\n",
    added: ["A_PASSWORD", "B_PASSWORD"],
  },
  {
    title: "a commented-out password and a longer name don't count",
    before: "#A_PASSWORD=old\nMY_B_PASSWORD=x\n",
    after: "#A_PASSWORD=old\nMY_B_PASSWORD=x\nA_PASSWORD=new\nB_PASSWORD=new\n",
    added: ["A_PASSWORD", "B_PASSWORD"],
  },
  {
    title: "a last line without a newline isn't glued to the first password",
    before: "C=1",
    after: "C=1\nA_PASSWORD=new\nB_PASSWORD=new\n",
    added: ["A_PASSWORD", "B_PASSWORD"],
  },
  {
    title: "Windows line ends stay",
    before: "C=1\r\nA_PASSWORD=\r\n",
    after: "C=1\r\nA_PASSWORD=new\r\nB_PASSWORD=new\r\n",
    added: ["A_PASSWORD", "B_PASSWORD"],
  },
];
for (const { title, before, after, added } of envs) {
  Deno.test(`addPasswords(): ${title}`, () => {
    assert.deepEqual(addPasswords(before, names, generate), { text: after, added });
    assert.deepEqual(addPasswords(after, names, () => "newer"), { text: after, added: [] });
  });
}

Deno.test("up: generated passwords are long, differ, and need no quoting", () => {
  const [one, other] = [generatePassword(), generatePassword()];
  assert.match(one, /^[0-9a-f]{48}$/);
  assert.notEqual(one, other);
});

Deno.test("ensurePasswords(): makes .env once, readable by its owner only, and leaves nothing beside it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, ".env");
    const mode = async () => ((await Deno.stat(path)).mode ?? 0) & 0o777;
    assert.deepEqual(await ensurePasswords(path), [...passwords]);
    assert.equal(await mode(), 0o600);
    const first = await Deno.readTextFile(path);
    assert.deepEqual(Object.keys(parseEnv(first)), [...passwords, ...Object.values(hashes)]);
    await Deno.chmod(path, 0o644);
    assert.deepEqual(await ensurePasswords(path), []);
    assert.equal(await Deno.readTextFile(path), first);
    assert.equal(await mode(), 0o600);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), [".env"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("ensurePasswords(): writes through a link", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "shared.env"), "C=1\n");
    await Deno.symlink("shared.env", join(folder, ".env"));
    await ensurePasswords(join(folder, ".env"));
    assert.equal((await Deno.lstat(join(folder, ".env"))).isSymlink, true);
    const text = await Deno.readTextFile(join(folder, "shared.env"));
    assert.deepEqual(Object.keys(parseEnv(text)), ["C", ...passwords, ...Object.values(hashes)]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const nothing = () => undefined;
const given = Object.keys(hashes).map((name, index) => `${name}=p${index}\n`).join("");
/** `printf p0 | sha256sum` */
const hashOfP0 = "169b5b823c62b64ca7e5f8456a13c8d5d06f4ece522a58bc2b8a784dcf3609b0";

Deno.test("addHashes(): each password has its hash beside it, again when it changes, and nothing else is touched", () => {
  const before = `# mine\n${given}C=1`;
  const after = addHashes(before, nothing);
  assert(after.startsWith(`${before}\n`));
  const values = parseEnv(after);
  assert.equal(values.CLICKHOUSE_ADMIN_SHA256, hashOfP0);
  assert.equal(addHashes(after, nothing), after);
  const changed = addHashes(after.replace("=p1\n", "=other\n"), nothing);
  assert.equal(changed.split("\n").length, after.split("\n").length);
  assert.notEqual(parseEnv(changed).CLICKHOUSE_WRITER_SHA256, values.CLICKHOUSE_WRITER_SHA256);
  assert.equal(parseEnv(changed).CLICKHOUSE_ADMIN_SHA256, hashOfP0);
  // As Compose reads it: the process wins.
  const shell = addHashes(given, (name) => name === "CLICKHOUSE_READER_PASSWORD" ? "p0" : undefined);
  assert.equal(parseEnv(shell).CLICKHOUSE_READER_SHA256, hashOfP0);
  for (const wrong of ["'also $mine'", '"a b"', ""]) {
    assert.throws(() => addHashes(given.replace("p2", wrong), nothing), {
      message: /^CLICKHOUSE_READER_PASSWORD: expected a password without spaces [^\n]+$/,
    });
  }
});

Deno.test("openMounted(): lets everybody read what containers mount, and says what is missing", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const file of mounted) {
      await Deno.mkdir(join(folder, file, ".."), { recursive: true, mode: 0o700 });
      await Deno.writeTextFile(join(folder, file), "x", { mode: 0o600 });
    }
    await openMounted(folder);
    for (const file of mounted) {
      assert.equal(((await Deno.stat(join(folder, file))).mode ?? 0) & 0o777, 0o644, file);
    }
    await Deno.remove(join(folder, mounted[1] ?? ""));
    await assert.rejects(openMounted(folder), {
      message: "deploy/compose/clickhouse/users.xml is missing here: start in the folder of compose.yaml",
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const missing: Finished = { code: undefined, stdout: "", stderr: "" };
const answered = (stdout: string): Finished => ({ code: 0, stdout: `${stdout}\n`, stderr: "" });
const failed = (stderr: string): Finished => ({ code: 1, stdout: "", stderr });
const machines: { title: string; compose: Finished; engine: Finished; problem: RegExp | undefined }[] = [
  { title: "no docker command", compose: missing, engine: missing, problem: /^There is no docker command/ },
  {
    title: "no Compose plugin",
    compose: failed("docker: unknown command: docker compose\n\nRun 'docker --help' for more information\n"),
    engine: answered("28.2.2"),
    problem: /^"docker compose" doesn't work \(docker: unknown command: docker compose\): .*2\.24 or newer/,
  },
  {
    title: "a Compose of 2022",
    compose: answered("Docker Compose version v2.6.0"),
    engine: answered("20.10.17"),
    problem: /^Docker Compose 2\.6\.0 is too old: /,
  },
  {
    title: "a Compose of version 1",
    compose: answered("docker-compose version 1.29.2"),
    engine: answered("20.10.17"),
    problem: /^Docker Compose 1\.29\.2 is too old: /,
  },
  {
    title: "no engine",
    compose: answered("Docker Compose version v2.40.3"),
    engine: failed("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?\n"),
    problem: /^Docker's engine doesn't answer \(Cannot connect to the Docker daemon at .*\): start it, /,
  },
  {
    title: "an engine that has no version",
    compose: answered("Docker Compose version v2.40.3"),
    engine: answered(""),
    problem: /^Docker's engine doesn't answer/,
  },
  {
    title: "Compose 2.24",
    compose: answered("Docker Compose version 2.24.0"),
    engine: answered("25.0.0"),
    problem: undefined,
  },
  {
    title: "Compose 2.23",
    compose: answered("Docker Compose version v2.23.3"),
    engine: answered("25.0.0"),
    problem: /^Docker Compose 2\.23\.3 is too old: install Docker Compose 2\.24 or newer/,
  },
  {
    title: "an engine of 2023",
    compose: answered("Docker Compose version v2.40.3"),
    engine: answered("24.0.9"),
    problem: /^Docker's engine 24\.0\.9 is too old: install version 25 or newer/,
  },
  {
    title: "Docker Desktop's Compose",
    compose: answered("Docker Compose version v2.39.1-desktop.1"),
    engine: answered("28.3.2"),
    problem: undefined,
  },
  {
    title: "Compose 5",
    compose: answered("Docker Compose version v5.0.1"),
    engine: answered("29.0.0"),
    problem: undefined,
  },
  {
    title: "a Compose built from source",
    compose: answered("Docker Compose version dev"),
    engine: answered("28.2.2"),
    problem: undefined,
  },
];
for (const { title, compose, engine, problem } of machines) {
  Deno.test(`dockerProblem(): on a machine with ${title} it says ${problem ? "one line that helps" : "nothing"}`, () => {
    const text = dockerProblem(compose, engine);
    if (problem === undefined) return assert.equal(text, undefined);
    assert.match(text ?? "", problem);
    assert.match(text ?? "", /^[^\n]+"deno task dev"$/);
  });
}
