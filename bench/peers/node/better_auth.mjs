// better-auth's API-key plugin: auth.api.verifyApiKey behind a bare node http server, keys in SQLite.
// Rate limits of keys are off, since by default a key is refused after 10 requests a day.
import { createServer } from "node:http";
import { join } from "node:path";

import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import Database from "better-sqlite3";

import { directory, port, publish } from "./storage.mjs";

const database = new Database(join(directory, "better-auth.db"));
database.pragma("journal_mode = WAL"); // As better-sqlite3 recommends.

const options = {
  baseURL: `http://127.0.0.1:${port}`,
  secret: "a secret of the benchmark, which signs nothing here",
  database,
  emailAndPassword: { enabled: true },
  plugins: [apiKey({ rateLimit: { enabled: false } })],
  telemetry: { enabled: false },
};
const auth = betterAuth(options);
await (await getMigrations(options)).runMigrations();

const { user } = await auth.api.signUpEmail({
  body: { email: "ada@example.com", password: "seven green lanterns drift", name: "Ada" },
});
const { key } = await auth.api.createApiKey({ body: { name: "bench", userId: user.id } });
publish({ key });

createServer(async (request, response) => {
  const { valid } = await auth.api.verifyApiKey({ body: { key: request.headers["x-api-key"] ?? "" } });
  response.writeHead(valid ? 200 : 401, { "content-type": "application/json" });
  response.end(JSON.stringify({ valid }));
}).listen(port, "127.0.0.1");
