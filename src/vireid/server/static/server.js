// The page's only door to the server. Every failure becomes a `Failure` with a sentence.

import { boxText } from "./box.js";
import { UNREACHABLE, status } from "./texts.js";

export class Failure extends Error {
  constructor(status_, code, sentence, retryAfter = null) {
    super(sentence);
    this.status = status_;
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
    throw new Failure(0, "unreachable", UNREACHABLE);
  }
  if (response.ok) return response;
  let problem = { code: "http", sentence: status(response.status) };
  try {
    problem = (await response.json()).error ?? problem;
  } catch {
    // The body was not ours (a proxy's page); the status is all there is to say.
  }
  const wait = Number(response.headers.get("Retry-After"));
  throw new Failure(response.status, problem.code, problem.sentence, wait > 0 ? wait : null);
}

const askJson = async (path, options) => (await ask(path, options)).json();

const json = (method, body, signal) => ({
  method, signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

export const getInfo = () => askJson("/api/info");
export const getSession = () => askJson("/api/session");
export const signIn = (token) => askJson("/api/session", json("POST", { token }));
export const signOut = () => askJson("/api/session", { method: "DELETE" });
export const getSightings = (rowId, signal) =>
  askJson(`/api/sightings?row_id=${encodeURIComponent(rowId)}`, { signal });
export const imageUrl = (rowId, size = "thumb") => `/api/image/${encodeURIComponent(rowId)}?size=${size}`;

/** Search with `request.images` or with the entry `request.rowId`. */
export const search = async (request, signal) => (await post(request, "json", signal)).json();

/** The same as a CSV file. */
export const searchAsCsv = async (request) => (await post(request, "csv")).blob();

function post(request, format, signal) {
  const { filters } = request;
  if (request.rowId) {
    const people = filters.people.split(",").map((name) => name.trim()).filter(Boolean);
    return ask("/api/search/by-row", json("POST", {
      row_id: request.rowId, top: request.top, reason: request.reason || null, format,
      cameras: filters.cameras.length ? filters.cameras : null,
      result_modality: filters.modality || null,
      time_from: filters.from, time_to: filters.to,
      pids: people.length ? people : null,
    }, signal));
  }
  const form = new FormData();
  for (const image of request.images) {
    form.append("image", image.file, "image");
    form.append("box", boxText(image.box));
  }
  form.set("modality", request.modality);
  form.set("top", request.top);
  form.set("format", format);
  form.set("cameras", filters.cameras.join(","));
  form.set("result_modality", filters.modality);
  form.set("pids", filters.people);
  if (filters.from !== null) form.set("time_from", filters.from);
  if (filters.to !== null) form.set("time_to", filters.to);
  if (request.reason) form.set("reason", request.reason);
  return ask("/api/search", { method: "POST", body: form, signal });
}
