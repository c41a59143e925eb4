// oidc-provider's introspection endpoint: opaque access tokens of client_credentials, its memory adapter.
import { randomBytes } from "node:crypto";

import Provider from "oidc-provider";

import { port, publish } from "./storage.mjs";

const secret = randomBytes(32).toString("base64url");
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "bench",
      client_secret: secret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
  },
  ttl: { ClientCredentials: 24 * 3600 },
});

const authorization = `Basic ${Buffer.from(`bench:${secret}`).toString("base64")}`;

provider.listen(port, "127.0.0.1", async () => {
  const answer = await fetch(`http://127.0.0.1:${port}/token`, {
    method: "POST",
    headers: { authorization, "content-type": "application/x-www-form-urlencoded" },
    body: "grant_type=client_credentials",
  });
  publish({ token: (await answer.json()).access_token, authorization });
});
