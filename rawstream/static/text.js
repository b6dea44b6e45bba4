// What the pages say, in the language of who reads. Owns: which language, and how a key becomes a
// sentence. Must not know: the sentences (one module per language).

const LANGUAGES = ["en", "it"];
export const NAMES = { en: "English", it: "Italiano" };

function wanted() {
  const kept = localStorage.getItem("language");
  if (LANGUAGES.includes(kept)) return kept;
  const said = navigator.languages.map((one) => one.slice(0, 2).toLowerCase());
  return said.find((one) => LANGUAGES.includes(one)) || "en";
}

export const language = wanted();
const { default: sentences } = await import(`./${language}.js`);
document.documentElement.lang = language;

/** The sentence of a key, `{name}` in it replaced. A key with `one` beside it is a count. */
export function t(key, values = {}) {
  const single = values.n === 1 ? sentences[`${key}.one`] : undefined;
  return filled(single ?? sentences[key] ?? key, values);
}

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

/** A word of the server's (a state, a kind), or the word itself where nobody has translated it. */
export function word(kind, value) {
  return sentences[`${kind}.${value}`] ?? String(value ?? "");
}

/** What the server says, by its code; in the server's own words where that is not known. */
export function said({ code = "", values = {} }, words) {
  if (!code || word("code", code) === code) return words;
  const given = values.what ? { ...values, what: word("what", values.what) } : values;
  const text = filled(word("code", code), given);
  return values.at ? `${word("field", values.at)}: ${text}` : text;
}

export function choose(next) {
  localStorage.setItem("language", next);
  location.reload();
}
