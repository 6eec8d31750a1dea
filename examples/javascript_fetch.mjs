// Everlog with nothing but fetch (Node 18 or newer): node javascript_fetch.mjs
// EVERLOG_URL and EVERLOG_KEY say where Everlog is and what opens it.

const url = process.env.EVERLOG_URL ?? "http://127.0.0.1:8000";
const key = process.env.EVERLOG_KEY ?? "my-first-key";
const user = process.env.EVERLOG_USER ?? "example-javascript";

async function ask(method, path, body, headers = {}) {
  const answer = await fetch(url + path, {
    method,
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.detail), { status: answer.status });
  return said;
}

const messages = [{ role: "user", content: "I live in Berlin" }];
const { results: [made] } = await ask("POST", "/v1/memories", { messages, user_id: user });
console.log(`made:    ${made.memory}`);

const { results: [found] } = await ask("POST", "/v1/search", { query: "Where is home?", user_id: user });
console.log(`found:   ${found.memory}`);

// Only version 1 may be changed, so that nobody else's change is lost.
const change = { memory: "User lives in Hamburg" };
const changed = await ask("PUT", `/v1/memories/${made.id}`, change, { "If-Match": '"1"' });
console.log(`changed: ${changed.memory}`);
await ask("PUT", `/v1/memories/${made.id}`, change, { "If-Match": '"1"' })
  .catch((error) => console.log(`refused: ${error.status} ${error.message}`));

await ask("DELETE", `/v1/memories?user_id=${encodeURIComponent(user)}`);
console.log("deleted");
