-- Asks Keyturn who calls. For HAProxy 2.6 or newer:
--
--   http-request lua.keyturn_verify                     any good credential
--   http-request lua.keyturn_verify_scope orders:read   one that covers this scope
--
-- A good one gets txn.keyturn_passed and all identity headers; anything else ends the request with Keyturn's
-- answer, or with 503. After an error in here HAProxy goes on with its next rule: so the configuration must
-- deny what has no txn.keyturn_passed.

local KEYTURN = "http://127.0.0.1:8400"
-- What clients reach the API under, for proofs of possession. Not the Host of the request: the client chooses it.
local PUBLIC_URL = "http://api.example.com"
-- The identifier of the API, if it is registered in Keyturn as a service: then only tokens for it are good.
local AUDIENCE = ""
local TIMEOUT_MS = 2000  -- For one try. HAProxy makes up to four.
local ASKED = { "authorization", "dpop", "user-agent", "x-forwarded-for" }
local IDENTITY = {
  "keyturn-user", "keyturn-key-id", "keyturn-scopes", "keyturn-permissions", "keyturn-auth-method", "remote-user",
}
local REFUSAL = { "content-type", "www-authenticate", "retry-after" }

-- All values of these headers. HAProxy counts the values of one header from 0, its client from 1.
local function values_of(headers, names)
  local found = {}
  for _, name in ipairs(names) do
    for _, value in pairs(headers[name] or {}) do
      found[name] = found[name] or {}
      table.insert(found[name], value)
    end
  end
  return found
end

local function encoded(text)
  return (text:gsub("[^%w]", function(character) return ("%%%02X"):format(character:byte()) end))
end

local function end_with(txn, status, headers, body)
  local reply = txn:reply({ status = status, body = body })
  for name, values in pairs(headers) do
    reply:add_header(name, values[1])
  end
  txn:done(reply)
end

local function verify(txn, scope)
  local asked = {}
  if AUDIENCE ~= "" then
    table.insert(asked, "audience=" .. encoded(AUDIENCE))
  end
  if scope ~= nil then
    table.insert(asked, "scope=" .. encoded(scope))
  end
  local url = KEYTURN .. "/verify"
  if #asked > 0 then
    url = url .. "?" .. table.concat(asked, "&")
  end
  local headers = values_of(txn.http:req_get_headers(), ASKED)
  -- Which request it is: for proofs of possession, and for keys that are restricted to methods or paths.
  headers["x-original-method"] = { txn.sf:method() }
  headers["x-original-url"] = { PUBLIC_URL .. txn.sf:pathq() }
  local answer = core.httpclient():get({ url = url, headers = headers, timeout = TIMEOUT_MS })
  if answer == nil or answer.status == nil or answer.status < 200 or (answer.status >= 300 and answer.status < 400) then
    end_with(txn, 503, {}, "")
    return
  end
  if answer.status ~= 200 then
    end_with(txn, answer.status, values_of(answer.headers, REFUSAL), answer.body)
    return
  end
  for _, name in ipairs(IDENTITY) do
    txn.http:req_set_header(name, (answer.headers[name] or {})[0] or "")
  end
  txn:set_var("txn.keyturn_passed", true)
end

core.register_action("keyturn_verify", { "http-req" }, function(txn) verify(txn, nil) end, 0)
core.register_action("keyturn_verify_scope", { "http-req" }, verify, 1)
