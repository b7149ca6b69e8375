// Polls a study with a FHIR client: walks all pages, resolves every reference and
// follows the history, until it has the last event. The first line on standard input
// has the options, the second the number of the last event. A line is written after
// each round, and at the end one with what the client has.
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';

const NO_HASH = '0'.repeat(64);

// connect(options) returns the client:
//   walk()           returns { pages, references }: the Bundles of a search, and the
//                    answer to each reference
//   read(id)         returns the report, or nothing if the answer is 410
//   history(number)  returns the Bundles with the events behind the number
//   check(pages)     compares the last walk with the client's other ways to read
export async function poll(connect) {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const options = JSON.parse((await lines.next()).value);
  let last = Infinity;
  lines.next().then(({ value }) => { last = Number(value); });
  const client = await connect(options);
  const followed = { number: 0, hash: NO_HASH, reports: {}, observations: {} };
  while (followed.number < last) {
    await walk(client);
    for (const page of await client.history(followed.number)) page.entry?.forEach((entry) => apply(followed, entry));
    print({ round: true });
  }
  const { pages, ...walked } = await walk(client);
  await client.check(pages);
  print({ followed, walked });
  process.stdin.destroy();
}

function print(line) {
  console.log(JSON.stringify(line));
}

// walk returns the reports of a walk, and the Observations of each. Observations may have
// gone since, with this version of the report.
async function walk(client) {
  const { pages, references } = await client.walk();
  const reports = {}, observations = {};
  for (const page of pages) {
    if (page.total !== pages[0].total) throw new Error(`the total was ${pages[0].total} and is ${page.total}`);
    for (const { resource } of page.entry ?? []) {
      if (resource.id in reports) throw new Error(`report ${resource.id} is there twice`);
      reports[resource.id] = resource;
      observations[resource.id] = [];
      for (const { reference, display } of resource.result ?? []) {
        const found = references[reference].entry ?? [];
        if (found.length === 1 && found[0].resource.identifier[0].value === display) {
          observations[resource.id].push(found[0].resource);
        } else if (found.length > 0 || !differs(resource, await client.read(resource.id))) {
          throw new Error(`${reference} is answered with ${JSON.stringify(found)}`);
        }
      }
    }
  }
  return { pages, reports, observations };
}

// apply checks the number and the hashes of an entry of history, and stores its effect.
function apply(followed, entry) {
  const attributes = entry.extension[0].extension;
  const event = Object.fromEntries(attributes.map(({ url, valueString }) => [url, valueString]));
  const text = attributes.filter(({ url }) => url !== 'hash').map(({ url, valueString }) => `${url}=${valueString}\n`);
  const hash = createHash('sha256').update(`signoff-event/1\n${text.join('')}`).digest('hex');
  const number = Number(event.sequence);
  if (number !== followed.number + 1 || event.previoushash !== followed.hash || event.hash !== hash) {
    throw new Error(`event ${event.sequence} does not follow ${followed.number}`);
  }
  followed.number = number;
  followed.hash = hash;
  const id = event.subject.split('/')[1];
  if (entry.request.method === 'POST') {
    followed.observations[id] = entry.resource?.entry.map(({ resource }) => resource) ?? [];
    return;
  }
  if (entry.request.method === 'PUT' && entry.resource) {
    followed.observations[id] = entry.resource.result ? followed.observations[id] : [];
    followed.reports[id] = entry.resource;
  } else {
    delete followed.reports[id];
    delete followed.observations[id];
  }
}

// accessToken requests an access token as RFC 6749, section 4.4 describes.
export async function accessToken(url, { id, secret }) {
  const body = new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret: secret, scope: 'full' });
  const response = await fetch(url, { method: 'POST', body });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${url}: ${answer.error}`);
  return answer.access_token;
}

// differs reports whether two values are not the same JSON.
export function differs(a, b) {
  return JSON.stringify(a) !== JSON.stringify(b);
}
