/**
 * A real Chromium for tests and screenshots: unpacked from its npm package once, for all runs of this checkout.
 *
 * @module
 */

import { type Browser, chromium as playwright } from "playwright-core";
import deno from "../../deno.json" with { type: "json" };
import type { Skip } from "./skip.ts";
import { root } from "./tape.ts";

const version = deno.imports["@sparticuz/chromium"].split("@").at(-1);
const folder = `${root}.tapehouse/chromium/${version}`;

/** Nothing of the browser's own goes out, and as root it needs to be told that it may run. */
const args = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--font-render-hinting=none",
];

/** Where the browser is, and what it needs in its environment. */
export interface Installed {
  executablePath: string;
  env: Record<string, string>;
}

/** The browser, or why this machine can't have it. */
export async function findChromium(): Promise<Installed | Skip> {
  const { os, arch } = Deno.build;
  if (os !== "linux" || arch !== "x86_64") {
    return {
      reason: `the package @sparticuz/chromium is for linux x86_64, this is ${os} ${arch}`,
      avoidable: false,
    };
  }
  const executablePath = `${folder}/chromium`;
  try {
    await Deno.stat(executablePath).catch(unpack);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { reason: `Chromium can't be unpacked into ${folder}: ${why}`, avoidable: true };
  }
  const env = { HOME: folder, FONTCONFIG_FILE: `${folder}/tapehouse-fonts.conf` };
  // The package brings the few libraries that a bare machine lacks (NSS, NSPR, expat); those of the machine go first.
  const environments = [env, { ...env, LD_LIBRARY_PATH: `${folder}/al2023/lib` }];
  let complaint = "";
  for (const each of environments) {
    const command = new Deno.Command(executablePath, { args: ["--version", ...args], env: each });
    const { success, stderr } = await command.output();
    if (success) return { executablePath, env: each };
    complaint = new TextDecoder().decode(stderr).trim().split("\n").at(-1) ?? "";
  }
  return {
    reason: `Chromium doesn't start here (${executablePath} --version): ${complaint}`,
    avoidable: true,
  };
}

/**
 * Unpacks the package. The package itself only knows the system's folder for temporary files, and takes a file that
 * another run is still writing for the finished one: so a process of its own unpacks into a fresh folder, which is then
 * put in place at once.
 */
async function unpack(): Promise<void> {
  await Deno.mkdir(`${folder}/..`, { recursive: true });
  const fresh = await Deno.makeTempDir({ dir: `${folder}/..`, prefix: "unpacking-" });
  try {
    const command = new Deno.Command(Deno.execPath(), {
      args: ["eval", "import chromium from '@sparticuz/chromium'; await chromium.executablePath()"],
      cwd: root,
      // The second makes it unpack the libraries too.
      env: { TMPDIR: fresh, AWS_EXECUTION_ENV: "AWS_Lambda_nodejs22.x" },
      stdin: "null",
    });
    const { success, stderr } = await command.output();
    if (!success) throw new Error(new TextDecoder().decode(stderr).trim().split("\n")[0]);
    await Deno.writeTextFile(`${fresh}/tapehouse-fonts.conf`, fontsConf);
    await Deno.rename(fresh, folder).catch(async (error) => {
      // Another run was faster.
      await Deno.stat(`${folder}/chromium`).catch(() => {
        throw error;
      });
    });
  } finally {
    await Deno.remove(fresh, { recursive: true }).catch(() => {});
  }
}

/** Letters of the package first, so that pictures look the same everywhere; signs that it lacks from the machine. */
const fontsConf = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${folder}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${folder}/fonts-cache</cachedir>
  <match target="pattern"><edit name="family" mode="prepend" binding="strong"><string>Open Sans</string></edit></match>
</fontconfig>
`;

/** Starts the browser, with `more` arguments than the usual ones. */
export async function launch({ executablePath, env }: Installed, more: string[] = []): Promise<Browser> {
  return await playwright.launch({
    executablePath,
    env: { ...Deno.env.toObject(), ...env },
    args: [...args, ...more],
    headless: true,
  });
}
