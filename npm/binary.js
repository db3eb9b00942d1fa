// Where the command `kittiwake` is.
//
// Invariant: what a person names is taken or refused, and nothing else is looked for then.

import { accessSync, constants, statSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { arch, env, platform } from "node:process";

const NAME = platform === "win32" ? "kittiwake.exe" : "kittiwake";

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The path of the command: an option's, KITTIWAKE_BINARY's, one of PATH, or a package's. */
export function findBinary(option) {
  const named = option ?? env.KITTIWAKE_BINARY;
  if (named !== undefined && named !== "") {
    if (isExecutable(named)) return named;
    const by = option === undefined ? "KITTIWAKE_BINARY" : "the option `binary`";
    throw new Error(`${by} names ${named}, which is no executable file`);
  }
  const folders = (env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  const found = folders.map((folder) => join(folder, NAME)).find(isExecutable);
  if (found !== undefined) return found;
  const name = `@kittiwake/${platform}-${arch}`;
  try {
    return createRequire(import.meta.url).resolve(`${name}/${NAME}`);
  } catch {
    throw new Error(
      `there is no command ${NAME}: not in PATH, and no package ${name}; build it with \`cargo ` +
        "build --release`, and name it with KITTIWAKE_BINARY or launch({ binary })",
    );
  }
}
