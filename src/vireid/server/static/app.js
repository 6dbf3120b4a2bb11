// The page: an image and filters on one side, what was found on the other.

import { galleryImage, moveAmongCards, showCards, showFailure, showLoading, showNothing, showStart } from "./cards.js";
import { Detail } from "./detail.js";
import { $, cameraName, count, h, plural, sensorName } from "./dom.js";
import { Filters } from "./filters.js";
import { QueryImage } from "./image.js";
import { getInfo, getSession, search, signIn, signOut } from "./server.js";
import { drawStrip } from "./strip.js";

const AUTOMATIC_RETRIES = 3;

const state = { info: null, request: null, answer: null, view: "flat", before: [], running: null };

const say = (text) => { $("status").textContent = text; };
const filters = new Filters();
const picked = new QueryImage({ onChange: () => { $("go").disabled = !picked.file; } });
const detail = new Detail({ onAgain: searchWith, onFailure: askForToken });

// ---- searching

function requestOf(query) {
  return { ...query, top: Number($("top").value), reason: $("reason").value.trim(), filters: filters.read() };
}

/** Run a request; the answer replaces what is shown. A busy server is asked again by itself. */
async function run(request, { remember = true } = {}) {
  state.running?.abort();
  const running = new AbortController();
  state.running = running;
  state.last = { request, remember };
  showBusy(true);
  showLoading($("cards"), request.top);
  $("results-head").hidden = true;
  $("strip").hidden = true;
  say("Searching");
  try {
    const answer = await patiently(() => search(request, running.signal), running.signal);
    if (running.signal.aborted) return;
    if (remember && state.answer) state.before.push({ request: state.request, answer: state.answer });
    show(request, answer);
  } catch (failure) {
    if (failure.name === "AbortError" || running.signal.aborted) return;
    if (failure.status === 401) askForToken();
    showFailure($("cards"), failure, () => run(request, { remember }));
    say("");
  } finally {
    if (state.running === running) showBusy(false);
  }
}

async function patiently(attempt, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt();
    } catch (failure) {
      const later = [429, 503].includes(failure.status) && failure.retryAfter !== null;
      if (!later || tries >= AUTOMATIC_RETRIES || failure.retryAfter > 10) throw failure;
      say(`The server is busy; trying again in ${failure.retryAfter} s`);
      await new Promise((resolve) => { setTimeout(resolve, failure.retryAfter * 1000); });
      signal.throwIfAborted();
    }
  }
}

function showBusy(busy) {
  $("go").classList.toggle("working", busy);
  $("go").firstElementChild.textContent = busy ? "Searching…" : "Search";
  $("go").setAttribute("aria-disabled", String(busy));
}

function show(request, answer) {
  state.request = request;
  state.answer = answer;
  const { hits } = answer;
  $("results-head").hidden = hits.length === 0;
  $("back").hidden = state.before.length === 0;
  if (hits.length === 0) {
    $("strip").hidden = true;
    showNothing($("cards"), filters.active > 0, () => { filters.clear(); run({ ...request, filters: filters.read() }); });
    say("Nothing was found");
    return;
  }
  const title = `${count(hits.length)} most similar`;
  $("results-title").textContent = title;
  $("results-facts").textContent = `${queryWords(request, answer)}, among ${plural(answer.searched, "image", "images")} in ${Math.round(answer.milliseconds)} ms`;
  $("query-notes").replaceChildren(...answer.query.notes.map((note) => h("p", { class: "caution" }, note)));
  $("query-thumb").replaceChildren(queryThumb(request, answer));
  drawStrip($("strip"), hits, { title: "Where and when", onPick: openHit });
  redraw();
  say(`${title}. The best has similarity ${hits[0].similarity.toFixed(2)}, ${cameraName(hits[0].camid)}. ${answer.query.notes.join(" ")}`);
  $("results-title").focus({ preventScroll: true });
  const top = $("results").getBoundingClientRect().top;
  if (top > window.innerHeight * 0.6 || top < 0) $("results").scrollIntoView({ block: "start" });
}

function queryWords(request, answer) {
  if (!request.rowId) return `${sensorName(answer.query.modality)} image of yours`;
  return `${sensorName(answer.query.modality)} image of ${cameraName(answer.query.camid).toLowerCase()}`;
}

function queryThumb(request, answer) {
  if (request.rowId) return galleryImage(answer.query, "thumb", "Searched for");
  return h("span", { class: "image loaded" }, h("img", { src: request.url, alt: "Searched for: your image" }));
}

function redraw() {
  if (state.answer) showCards($("cards"), state.answer.hits, state.view, { onOpen: openHit, onAgain: searchWith });
}

function openHit(hit) {
  const shown = [...document.querySelectorAll(".card")].map((card) => card.dataset.row);
  const byRow = new Map(state.answer.hits.map((other) => [other.row_id, other]));
  const query = state.request.rowId ? state.answer.query : { ...state.answer.query, url: state.request.url };
  detail.open(shown.map((row) => byRow.get(row)), hit, query);
}

function searchWith(hit) {
  run(requestOf({ rowId: hit.row_id }));
}

function goBack() {
  const last = state.before.pop();
  if (last) show(last.request, last.answer);
}

// ---- the index and who may ask it

async function start() {
  try {
    const session = await getSession();
    if (session.required && !session.user) {
      askForToken();
      return;
    }
    state.info = await getInfo();
  } catch (failure) {
    if (failure.status === 401) askForToken();
    else showFailure($("cards"), failure, start);
    return;
  }
  const { info } = state;
  $("index-facts").textContent = [
    plural(info.count, "image", "images"),
    plural(info.cameras.filter((camera) => camera.camid >= 0).length, "camera", "cameras"),
    info.identities > 0 ? plural(info.identities, "known person", "known people") : null,
  ].filter(Boolean).join(" · ");
  const signedIn = info.user !== "local";
  $("user").hidden = $("sign-out").hidden = !signedIn;
  $("user").textContent = signedIn ? info.user : "";
  $("reason-field").hidden = !info.require_reason;
  $("reason").required = info.require_reason;
  $("audit-hint").hidden = !info.audited;
  picked.limits = info.limits;
  filters.fill(info);
  if (!state.answer) showStart($("cards"), info);
}

function askForToken() {
  if (!$("sign-in").open) $("sign-in").showModal();
  $("token").focus();
}

async function trySignIn(event) {
  event.preventDefault();
  $("sign-in-problem").hidden = true;
  try {
    await signIn($("token").value);
  } catch (failure) {
    $("sign-in-problem").textContent = failure.message;
    $("sign-in-problem").hidden = false;
    $("token").select();
    return;
  }
  $("token").value = "";
  $("sign-in").close();
  await start();
  if (state.last && !state.answer) run(state.last.request, { remember: state.last.remember });
}

async function endSession() {
  try {
    await signOut();
  } finally {
    window.location.reload();
  }
}

// ---- colours

function dark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
}

function nameTheme() {
  $("theme").setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
}

function switchTheme() {
  const theme = dark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("vireid-theme", theme);
  } catch {
    // Storage is blocked: the choice lasts as long as the page.
  }
  nameTheme();
}

// ---- wiring

function submit(event) {
  event.preventDefault();
  if (!picked.file || !filters.valid()) return;
  if (state.info?.require_reason && !$("reason").value.trim()) {
    $("reason").focus();
    $("reason").reportValidity();
    return;
  }
  run(requestOf({ file: picked.file, url: picked.url, modality: picked.modality }));
}

$("query").addEventListener("submit", submit);
$("back").addEventListener("click", goBack);
$("theme").addEventListener("click", switchTheme);
$("sign-out").addEventListener("click", endSession);
$("sign-in-form").addEventListener("submit", trySignIn);
$("sign-in").addEventListener("cancel", (event) => event.preventDefault());
$("cards").addEventListener("keydown", (event) => moveAmongCards($("cards"), event));
for (const radio of document.getElementsByName("view")) {
  radio.addEventListener("change", () => {
    state.view = radio.value;
    redraw();
  });
}
let resizing = null;
window.addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    if (state.answer?.hits.length && !$("strip").hidden) {
      drawStrip($("strip"), state.answer.hits, { title: "Where and when", onPick: openHit });
    }
  }, 150);
});
if (window.matchMedia("(max-width: 60rem)").matches) $("filters").open = false;
nameTheme();
start();
