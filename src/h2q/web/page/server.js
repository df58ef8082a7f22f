// The index behind h2q serve. Its methods are those of the class Site in site.js.

/** Parse JSON; ids that a JavaScript number cannot hold exactly become strings, which the server takes, too. */
function parse(text) {
  try {
    return JSON.parse(text.replace(/"id":(\d{16,})(?=[,}])/g, '"id":"$1"'));
  } catch {
    return null;
  }
}

async function read(response) {
  const answer = parse(await response.text());
  if (response.ok && answer !== null) return answer;
  throw new Error(answer?.error ?? `The server answered ${response.status} ${response.statusText}`);
}

async function ask(path, options) {
  try {
    return await read(await fetch(path, options));
  } catch (error) {
    if (error instanceof TypeError) throw new Error("The server does not answer. Is h2q serve still running?");
    throw error;
  }
}

const withId = (path, id) => `${path}?id=${encodeURIComponent(id)}`;

/** A server: every method asks it. */
export class Server {
  info() {
    return ask("api/info");
  }

  search(query, options) {
    return this.#query("api/search", query, options);
  }

  why(query, options) {
    return this.#query("api/why", query, options);
  }

  #query(path, { image, id, text, code }, { k, scoring, nBits, where }) {
    if (image === undefined) {
      const body = JSON.stringify({ id, text, code, k, scoring, n_bits: nBits, where });
      return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    }
    const parameters = new URLSearchParams({ k, scoring });
    if (nBits !== null) parameters.set("n_bits", nBits);
    if (where !== null) parameters.set("where", where);
    const headers = { "Content-Type": "application/octet-stream" };
    return ask(`${path}/image?${parameters}`, { method: "POST", headers, body: image });
  }

  /** Return the comparison; null, if onProgress, which is called while the server computes it, returns false. */
  async comparison(onProgress) {
    for (;;) {
      const answer = await ask("api/comparison");
      if (answer.status === "failed") throw new Error(answer.error);
      if (answer.status === "done") return answer;
      if (!onProgress(answer.progress)) return null;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  thumbnail(id) {
    return withId("api/thumbnail", id);
  }

  picture(id) {
    return withId("api/picture", id);
  }

  async text(id) {
    const answer = await ask(withId("api/text", id));
    return answer.text;
  }
}
