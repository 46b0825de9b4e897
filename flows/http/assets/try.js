// The page that tries the classifier: asks the server it came from, and shows what it says. Every word of a text, a
// label or an error is set as text, never as markup.
"use strict";

const MOST_SHOWN = 10;  // rows of the table of words
const STRONGEST = 0.45;  // opacity behind the word that weighed most: text on it stays readable
const LEAST_SCALE = 0.5;  // log-odds: where no word weighs more, none is shown at full strength
const PART = "probability_";

const find = id => document.getElementById(id);
const percent = share => `${(100 * share).toFixed(1)} %`;
const signed = weight => `${weight > 0 ? "+" : weight < 0 ? "−" : ""}${Math.abs(weight).toFixed(2)}`;

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

let key = "";  // of a server that asks for one; it is gone when the page is

async function ask(path, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const request = body && { method: "POST", body: JSON.stringify(body) };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { ...request, headers });
  if (answer.status === 401 && (key = window.prompt("This server asks for a key:") ?? "")) return ask(path, body);
  const content = await answer.json().catch(() => ({}));  // a server that has too much to do, or a proxy, says it in text
  if (!answer.ok) throw new Error(content.message ?? `The server refused: ${answer.status} ${answer.statusText}`);
  return content;
}

function showPrediction(row) {
  find("label").textContent = row.label;
  find("rule").textContent = row.threshold === undefined ? "is the most probable label"
    : row.threshold === 0.5 ? "is the more probable label (threshold 0.5)"
    : `at the threshold ${Number(row.threshold.toPrecision(4))}`;
  const shares = Object.entries(row).filter(([name]) => name.startsWith(PART));
  shares.sort((one, other) => other[1] - one[1]);
  find("shares").replaceChildren(...shares.flatMap(([name, share]) => {
    const bar = document.createElement("dd");
    const meter = element("meter", percent(share));
    meter.value = share;
    meter.setAttribute("aria-hidden", "true");  // the number beside it says the same
    bar.append(meter);
    return [element("dt", name.slice(PART.length)), bar, element("dd", percent(share), "number")];
  }));
  find("answer").hidden = false;
}

function showWords({ prediction, words, not_weighed, saturated }) {
  find("found").hidden = words.length === 0;
  const more = not_weighed === 1 ? "One more word was" : `${not_weighed} more words were`;
  find("note").textContent = words.length === 0 ? "With a single word there is nothing to compare it with."
    : `By how much the log-odds of “${prediction.label}” fall when a word is left out.`
      + (saturated ? " The classifier is so sure of this text that most words make no difference on their own." : "")
      + (not_weighed ? ` ${more} not weighed.` : "");
  const largest = Math.max(...words.map(({ weight }) => Math.abs(weight)), LEAST_SCALE);
  find("marked").replaceChildren(...words.flatMap(({ word, weight }) => {
    const strength = Math.abs(weight) / largest;
    const mark = element(strength < 0.05 ? "span" : "mark", word, weight > 0 ? "for" : "against");
    mark.title = signed(weight);
    mark.style.setProperty("--strength", (STRONGEST * strength).toFixed(3));
    return [mark, " "];
  }));
  const heaviest = [...words].sort((one, other) => Math.abs(other.weight) - Math.abs(one.weight)).slice(0, MOST_SHOWN);
  find("weights").replaceChildren(...heaviest.map(({ word, weight }) => {
    const row = document.createElement("tr");
    row.append(element("td", word), element("td", signed(weight), "number"));
    return row;
  }));
}

async function classify(event) {
  event.preventDefault();
  const text = find("text").value;
  find("submit").disabled = true;
  find("error").hidden = true;
  find("answer").hidden = find("explanation").hidden = true;
  try {
    showPrediction((await ask("invocations", { inputs: [text] })).predictions[0]);
    find("note").textContent = "Weighing each word …";
    find("found").hidden = true;
    find("explanation").hidden = false;
    showWords(await ask("explain", { text }));
  } catch (error) {
    find("error").textContent = error instanceof TypeError ? "The server does not answer: is it still running?"
      : error.message;
    find("error").hidden = false;
    find("explanation").hidden = true;
  } finally {
    find("submit").disabled = false;
  }
}

find("form").addEventListener("submit", classify);
ask("model").then(({ name, version, calibrated, positive_label, threshold }) => {
  const rule = threshold === undefined || threshold === 0.5 ? ""
    : `; ${positive_label} from a probability of ${Number(threshold.toPrecision(4))} on`;
  find("model").textContent = `${name}, version ${version}${rule}${calibrated ? "; calibrated probabilities" : ""}`;
  document.title = `Try ${name}`;
}, () => { find("model").textContent = "The server does not say which model it is."; });
