import { Client } from 'fhir-kit-client';
import { accessToken, differs, poll } from './poll.js';

await poll(async ({ base, study, id, secret }) => {
  const client = new Client({ baseUrl: base, customHeaders: { 'x-partnerid': id } });
  const { tokenUrl } = await client.smartAuthMetadata();
  client.bearerToken = await accessToken(tokenUrl, { id, secret });
  let post = false; // in turn

  // follow returns the page and those behind it.
  async function follow(bundle) {
    const pages = [];
    for (; bundle; bundle = await client.nextPage({ bundle })) pages.push(bundle);
    return pages;
  }

  return {
    async walk() {
      post = !post;
      const searchParams = { researchstudy: study, _count: 3 };
      const pages = await follow(await client.search({ resourceType: 'DiagnosticReport', searchParams, options: { postSearch: post } }));
      const references = {};
      for (const page of pages) {
        for (const { resource } of page.entry ?? []) {
          for (const { reference } of resource.result ?? []) references[reference] = await client.resolve({ reference, context: page });
        }
      }
      return { pages, references };
    },

    async read(reportID) {
      try {
        return await client.read({ resourceType: 'DiagnosticReport', id: reportID });
      } catch (error) {
        if (error.response?.status !== 410) throw error;
      }
    },

    async history(number) {
      const query = new URLSearchParams({ researchstudy: study, _sort: '_lastUpdated', _sinceNumber: number, _count: 7 });
      return follow(await client.request(`_history?${query}`));
    },

    async check(pages) {
      const backwards = [];
      for (let bundle = pages.at(-1); bundle; bundle = await client.prevPage({ bundle })) backwards.unshift(bundle);
      if (differs(pages.map(({ entry }) => entry), backwards.map(({ entry }) => entry))) throw new Error('backwards the pages are others');
      for (const { resource } of pages.flatMap(({ entry }) => entry)) {
        const { resourceType, id: reportID, meta } = resource;
        const { entry: versions } = await client.history({ resourceType, id: reportID });
        for (const [how, other] of Object.entries({
          read: await client.read({ resourceType, id: reportID }),
          vread: await client.vread({ resourceType, id: reportID, version: meta.versionId }),
          history: versions[0].resource,
        })) {
          if (differs(resource, other)) throw new Error(`${how} of ${reportID} returns ${JSON.stringify(other)}`);
        }
      }
    },
  };
});
