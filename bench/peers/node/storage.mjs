// How a node peer tells the run its credentials: argv is the port and the directory that it may fill.
import { writeFileSync } from "node:fs";
import { join } from "node:path";

export const port = Number(process.argv[2]);
export const directory = process.argv[3];

export function publish(credentials) {
  writeFileSync(join(directory, "credentials.json"), JSON.stringify(credentials));
}
