import smart from 'fhirclient';
import { accessToken, differs, poll } from './poll.js';

const OAUTH = 'http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris';

await poll(async ({ base, study, id, secret }) => {
  const anyone = new smart.FhirClient(base);
  const statement = await anyone.fhirRequest('metadata');
  const version = await anyone.getFhirVersion();
  if (version !== statement.fhirVersion) throw new Error(`FHIR version ${version}`);
  const uris = statement.rest[0].security.extension.find(({ url }) => url === OAUTH);
  const tokenURL = uris.extension.find(({ url }) => url === 'token').valueUri;

  // There is no request of a browser and nothing to store: the state is passed on.
  const client = smart({ headers: {} }, {}, new Map()).client({
    serverUrl: base,
    tokenResponse: { access_token: await accessToken(tokenURL, { id, secret }) },
  });
  client.getRequestDefaults = async () => ({ headers: { authorization: client.getAuthorizationHeader(), 'x-partnerid': id } });

  return {
    async walk() {
      const query = new URLSearchParams({ researchstudy: study, _count: 3 });
      const { data, references } = await client.request(`DiagnosticReport?${query}`, { pageLimit: 0, resolveReferences: 'result', graph: false });
      return { pages: [data].flat(), references };
    },

    async read(reportID) {
      try {
        return await client.request(`DiagnosticReport/${reportID}`);
      } catch (error) {
        if (error.status !== 410) throw error;
      }
    },

    async history(number) {
      const query = new URLSearchParams({ researchstudy: study, _sort: '_lastUpdated', _sinceNumber: number, _count: 7 });
      const pages = [];
      for await (const page of client.pages(`_history?${query}`)) pages.push(page);
      return pages;
    },

    // check mounts the answers to the references in the reports.
    async check(pages) {
      for (const { resource } of pages.flatMap(({ entry }) => entry)) {
        const report = await client.request(`DiagnosticReport/${resource.id}`, { resolveReferences: 'result' });
        const mounted = (report.result ?? []).map(({ entry }) => entry[0].resource.identifier[0].value);
        if (differs(mounted, (resource.result ?? []).map(({ display }) => display))) throw new Error(`mounted in ${resource.id}: ${mounted}`);
      }
    },
  };
});
