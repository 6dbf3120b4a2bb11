// The page's only door to the server. Every failure becomes a `Failure` with a sentence.

export class Failure extends Error {
  constructor(status, code, sentence, retryAfter = null) {
    super(sentence);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "unreachable",
      "It doesn't answer. See whether it still runs, then try again.");
  }
  if (response.ok) return response.json();
  let problem = { code: "http", sentence: `The server answered with the status ${response.status}.` };
  try {
    problem = (await response.json()).error ?? problem;
  } catch {
    // The body was not ours (a proxy's page); the status is all there is to say.
  }
  const wait = Number(response.headers.get("Retry-After"));
  throw new Failure(response.status, problem.code, problem.sentence, wait > 0 ? wait : null);
}

const json = (method, body, signal) => ({
  method, signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

export const getInfo = () => ask("/api/info");
export const getSession = () => ask("/api/session");
export const signIn = (token) => ask("/api/session", json("POST", { token }));
export const signOut = () => ask("/api/session", { method: "DELETE" });
export const getSightings = (rowId, signal) =>
  ask(`/api/sightings?row_id=${encodeURIComponent(rowId)}`, { signal });
export const imageUrl = (rowId, size = "thumb") => `/api/image/${encodeURIComponent(rowId)}?size=${size}`;

/** Search with `request.file` or with the entry `request.rowId`. */
export function search(request, signal) {
  const filters = request.filters;
  if (request.rowId) {
    return ask("/api/search/by-row", json("POST", {
      row_id: request.rowId, top: request.top, reason: request.reason || null,
      cameras: filters.cameras.length ? filters.cameras : null,
      result_modality: filters.modality || null,
      time_from: filters.from, time_to: filters.to,
    }, signal));
  }
  const form = new FormData();
  form.set("image", request.file, "image");
  form.set("modality", request.modality);
  form.set("top", request.top);
  form.set("cameras", filters.cameras.join(","));
  form.set("result_modality", filters.modality);
  if (filters.from !== null) form.set("time_from", filters.from);
  if (filters.to !== null) form.set("time_to", filters.to);
  if (request.reason) form.set("reason", request.reason);
  return ask("/api/search", { method: "POST", body: form, signal });
}
