// The page: reads the query and the options, asks the source, draws the answer.

import { card, face, shortName } from "./items.js";
import { drawCode, fromHex, randomCode, toHex } from "./codes.js";
import { drawComparison } from "./comparison.js";
import { byId, count, formatNumber, formatSeconds, make, makeSvg } from "./elements.js";
import { Server } from "./server.js";
import { Site } from "./site.js";
import { drawWhy } from "./why.js";

const SCORINGS = { rerank: "re-ranked", asymmetric: "asymmetric", hamming: "Hamming" };
const WHY_RESULTS = 10;
const TYPING_MILLISECONDS = 150;
const VIEWS = ["search", "why", "comparison"];

const source = document.documentElement.dataset.source === "site" ? new Site() : new Server();
let info;
let view = "search";
let query; // {image}, {text}, {id} or {code}; the page starts with a random code
let answer = null;
let scoring = "hamming";
let turn = 0; // number of the latest request; answers to earlier ones are not drawn
const queries = []; // queries of the browser's history; its entries hold their positions
const page = performance.timeOrigin; // entries of the history from before a reload have another one

// ---------------------------------------------------------------- what people see of the state

const say = (text) => { byId("status").textContent = text; };

function showError(error) {
  byId("error").textContent = error === null ? "" : error.message;
  byId("error").hidden = error === null;
}

function describeQuery({ image, text, id }) {
  if (image !== undefined) return image.name || "the picture";
  return text === undefined ? shortName(id) : `“${text}”`;
}

function drawQuery() {
  const box = byId("query-item");
  byId("query").hidden = query.code !== undefined;
  if (byId("query").hidden) return box.replaceChildren();
  const code = answer?.query_code ? drawCode(fromHex(answer.query_code), answer.n_bits) : null;
  let picture = null;
  if (query.image !== undefined) {
    const address = URL.createObjectURL(query.image);
    picture = make("img", { src: address, alt: "" });
    picture.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
  } else if (query.id !== undefined) picture = face(source, info, query.id);
  const about = make("div", {}, make("p", { className: "name", title: describeQuery(query) }, describeQuery(query)), code);
  return box.replaceChildren(...[picture, about].filter(Boolean));
}

function drawLegend() {
  const square = (name, side) => makeSvg("svg", { viewBox: "0 0 5 5", class: "code", "aria-hidden": "true" },
    makeSvg("path", { class: name, d: `M${(5 - side) / 2} ${(5 - side) / 2}h${side}v${side}h-${side}z` }));
  const entry = (name, side, text) => make("span", {}, square(name, side), text);
  return make("p", { className: "legend quiet small" },
    entry("one", 3, "bit 1"), entry("zero", 3, "bit 0"), entry("differs one", 4.5, "differs from the query"));
}

/** Return the columns that cards show: pictures speak for themselves, so only those of the filter. */
function shownColumns() {
  const words = byId("where").value.match(/[\p{L}\p{N}_]+/gu) ?? [];
  return info.kind === "pictures" ? info.columns.filter(({ name }) => words.includes(name)) : info.columns;
}

function drawResults() {
  const list = make("ol", { className: `grid ${info.kind}`, "aria-label": "Results" },
    ...answer.results.map((result) => card(source, info, result, answer, shownColumns(), searchFrom)));
  byId("view").replaceChildren(answer.isBrowsing ? "" : drawLegend(), list);
  const n = count(answer.results.length, "result");
  if (answer.results.length === 0) say("Nothing fulfills the filter.");
  else if (answer.isBrowsing) say(`${formatNumber(answer.results.length)} of ${formatNumber(info.items)}. Choose any to search from it.`);
  else {
    const { embed, search } = answer.seconds;
    const times = embed > 0 ? `network ${formatSeconds(embed)}, search ${formatSeconds(search)}` : formatSeconds(search);
    say(`${n} for ${describeQuery(query)}, ${SCORINGS[answer.scoring]} scoring, ${times}.`);
  }
}

// ---------------------------------------------------------------- questions and answers

/** Return whether the query has an embedding, which all scorings but Hamming's need. */
function hasEmbedding() {
  return query.code === undefined && (query.id === undefined || info.keeps_embeddings);
}

function readOptions() {
  const where = byId("where").value.trim();
  const chosen = byId("length-field").hidden ? null : info.lengths[byId("length").valueAsNumber];
  return {
    k: byId("count").valueAsNumber,
    scoring: hasEmbedding() ? scoring : "hamming",
    nBits: chosen === info.n_bits ? null : chosen,
    where: where || null,
  };
}

/** Ask the source and draw what it answers; errors are shown, and what was drawn before stays. */
async function run(ask, draw) {
  const mine = ++turn;
  const content = byId("content");
  content.setAttribute("aria-busy", "true");
  try {
    const found = await ask();
    if (mine !== turn) return;
    showError(null);
    draw(found);
  } catch (error) {
    if (mine !== turn) return;
    showError(error);
    say("");
  } finally {
    if (mine === turn) content.setAttribute("aria-busy", "false");
  }
}

function refresh() {
  if (info === undefined || info.items === 0) return;
  performance.mark("h2q-asked");
  if (view === "comparison") refreshComparison();
  else if (view === "why") refreshWhy();
  else refreshSearch();
}

function refreshSearch() {
  say("Searching…");
  run(
    () => source.search(query, readOptions()),
    (found) => {
      answer = { ...found, isBrowsing: query.code !== undefined };
      if (!answer.isBrowsing) showTime(answer);
      drawQuery();
      drawResults();
      performance.measure("h2q-answer", "h2q-asked");
    },
  );
}

function refreshWhy() {
  if (query.code !== undefined) {
    showError(null);
    say("Search for something first: then this view shows what the learned rotation changes.");
    byId("view").replaceChildren();
    return;
  }
  say("Comparing…");
  const options = { ...readOptions(), k: WHY_RESULTS, scoring: "hamming", nBits: null };
  run(
    async () => {
      const found = await source.why(query, options);
      if (!info.scorings.includes("rerank")) return found;
      const { results } = await source.search(query, { ...options, scoring: "rerank" });
      return { ...found, exact: results.map(({ id }) => id) };
    },
    (found) => {
      say("");
      drawQuery();
      byId("view").replaceChildren(drawWhy(source, info, found, searchFrom));
    },
  );
}

function refreshComparison() {
  const mine = turn + 1;
  say("Computing the comparison, which takes a minute…");
  byId("view").replaceChildren();
  const onProgress = (progress) => {
    if (mine === turn && progress) say(`Computing the comparison: ${Math.round(100 * progress)} %`);
    return mine === turn;
  };
  run(
    () => source.comparison(onProgress),
    (found) => {
      say("");
      byId("view").replaceChildren(drawComparison(found));
    },
  );
}

/** Ask a new question: remember it in the browser's history, and answer it. */
function ask(next) {
  query = next;
  queries.push(next);
  const address = next.id === undefined ? location.pathname : `#id=${encodeURIComponent(JSON.stringify(next.id))}`;
  history.pushState({ page, number: queries.length - 1 }, "", address);
  if (view === "comparison") showView("search");
  refresh();
}

function searchFrom(id) {
  ask({ id });
  scrollTo({ top: 0, behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
  byId("content").focus({ preventScroll: true });
}

function searchImage(file) {
  if (!info.accepts.includes("image")) return showError(new Error("This index takes no pictures as queries."));
  if (file.size > info.max_upload_bytes) {
    const megabytes = (info.max_upload_bytes / 2 ** 20).toFixed(0);
    return showError(new Error(`${file.name} is larger than ${megabytes} MB, the most that is taken.`));
  }
  return ask({ image: file });
}

// ---------------------------------------------------------------- controls

function showTime({ scoring: name, seconds }) {
  const output = document.querySelector(`#scoring output[data-scoring="${name}"]`);
  if (output) output.textContent = formatSeconds(seconds.search);
}

function setUpScoring() {
  scoring = Object.keys(SCORINGS).find((name) => info.scorings.includes(name)) ?? "hamming";
  if (info.scorings.length < 2) return;
  byId("scoring").hidden = false;
  for (const name of Object.keys(SCORINGS).filter((each) => info.scorings.includes(each))) {
    const input = make("input", { type: "radio", name: "scoring", value: name, checked: name === scoring });
    input.addEventListener("change", () => { scoring = name; refresh(); });
    byId("scoring").querySelector(".choices").append(
      make("label", {}, input, make("span", { className: "first-upper" }, SCORINGS[name]), make("output", { className: "small", "data-scoring": name })));
  }
  byId("time-all").addEventListener("click", async () => {
    if (!hasEmbedding()) return say("Search for something first.");
    try {
      for (const name of info.scorings) showTime(await source.search(query, { ...readOptions(), scoring: name }));
    } catch (error) {
      showError(error);
    }
  });
}

function later(action) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, TYPING_MILLISECONDS);
  };
}

function setUpOptions() {
  const amount = byId("count");
  amount.max = Math.min(100, info.max_k);
  const showCount = () => { byId("count-value").textContent = amount.value; };
  showCount();
  amount.addEventListener("input", showCount);
  amount.addEventListener("input", later(refresh));
  if (info.lengths !== null && info.lengths.length > 1) {
    const length = byId("length");
    byId("length-field").hidden = false;
    length.max = info.lengths.length - 1;
    length.value = length.max;
    const showLength = () => {
      const text = `${info.lengths[length.valueAsNumber]} bits`;
      byId("length-value").textContent = text;
      length.setAttribute("aria-valuetext", text);
    };
    showLength();
    length.addEventListener("input", showLength);
    length.addEventListener("input", later(refresh));
  }
  if (info.columns.length) {
    byId("where-field").hidden = false;
    byId("where").placeholder = exampleFilter(info.columns[0]);
    byId("columns").textContent = `Columns: ${info.columns.map(({ name, type }) => `${name} (${plainType(type)})`).join(", ")}`;
    byId("where").addEventListener("change", refresh);
  }
}

function plainType(type) {
  if (/^(timestamp|date)/.test(type)) return "time";
  if (/string/.test(type)) return "text";
  return type === "bool" ? "true or false" : "number";
}

function exampleFilter({ name, type }) {
  const examples = { time: ">= '2024-05-01'", text: "like 'a%'", number: "> 100", "true or false": "= true" };
  return `${name} ${examples[plainType(type)]}`;
}

function setUpQueries() {
  const takesImage = info.accepts.includes("image");
  const takesText = info.accepts.includes("text");
  document.querySelectorAll(".accepts-image").forEach((element) => { element.hidden = !takesImage; });
  document.querySelectorAll(".accepts-text").forEach((element) => { element.hidden = !takesText; });
  byId("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("text").value.trim();
    if (takesText && text && text !== query.text) ask({ text });
    else refresh();
  });
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) searchImage(file);
    event.target.value = ""; // the same file can be chosen again
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file && info.items) searchImage(file);
  });
  if (takesImage) setUpDropping();
  addEventListener("popstate", ({ state }) => {
    const earlier = (state?.page === page ? queries[state.number] : undefined) ?? queryOfAddress();
    if (earlier === null) return; // the entry of another query that a reload discarded, or a link within the page
    query = earlier;
    refresh();
  });
}

function setUpDropping() {
  const cover = byId("drop-cover");
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    cover.hidden = false;
  });
  addEventListener("dragleave", (event) => { if (event.relatedTarget === null) cover.hidden = true; });
  addEventListener("drop", (event) => {
    cover.hidden = true;
    if (!isFile(event)) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) searchImage(file);
  });
}

function showView(next) {
  view = next;
  for (const name of VIEWS) {
    const tab = byId(`tab-${name}`);
    tab.setAttribute("aria-selected", String(name === view));
    tab.tabIndex = name === view ? 0 : -1;
  }
  byId("content").setAttribute("aria-labelledby", `tab-${view}`);
  byId("controls").hidden = view === "comparison";
}

function setUpTabs() {
  const shown = VIEWS.filter((name) => name === "search" || info.views === undefined || info.views.includes(name));
  byId("tabs").hidden = shown.length < 2;
  for (const name of VIEWS) byId(`tab-${name}`).hidden = !shown.includes(name);
  const choose = (name) => { showView(name); showError(null); refresh(); };
  shown.forEach((name, position) => {
    byId(`tab-${name}`).addEventListener("click", () => choose(name));
    byId(`tab-${name}`).addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step === undefined) return;
      const next = shown[(position + step + shown.length) % shown.length];
      byId(`tab-${next}`).focus();
      choose(next);
    });
  });
}

/** Move the focus to the results; the address keeps naming the query. */
function setUpSkipLink() {
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("content").focus();
  });
}

function setUpTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  show();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("h2q-theme", root.dataset.theme);
    } catch {
      // Storage may be forbidden; the choice holds until the page is left.
    }
    show();
  });
}

/** Return the query for the item that the address names, or null. */
function queryOfAddress() {
  const id = new URLSearchParams(location.hash.slice(1)).get("id");
  try {
    const value = JSON.parse(id);
    return ["string", "number"].includes(typeof value) ? { id: value } : null;
  } catch {
    return null;
  }
}

async function start() {
  setUpTheme();
  setUpSkipLink();
  byId("options").open = matchMedia("(min-width: 761px)").matches;
  try {
    info = await source.info();
  } catch (error) {
    say("");
    return showError(error);
  }
  const noun = info.kind === "pictures" ? "picture" : info.kind === "texts" ? "text" : "item";
  byId("name").textContent = info.name;
  document.title = `${info.name} · h2q`;
  byId("facts").textContent = `${count(info.items, noun)}, ${info.n_bits} bits each`;
  if (info.items === 0) {
    byId("status").className = "notice";
    return say("This index is empty. Add something to it, and load the page again.");
  }
  setUpScoring();
  setUpOptions();
  setUpQueries();
  setUpTabs();
  byId("controls").hidden = false;
  query = queryOfAddress() ?? { code: toHex(randomCode(info.n_bits)) };
  queries.push(query);
  history.replaceState({ page, number: 0 }, "");
  return refresh();
}

start();
