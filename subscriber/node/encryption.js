/** Secrets and reports are sent in clear only within this machine, unless the option insecure is set. */

/** Returns the options for a connection that is encrypted if it must be. */
export function tlsOptions({ servers, tokenURL, insecure }) {
  const addresses = [servers].flat();
  if (insecure) {
    return {};
  }
  if (tokenURL && new URL(tokenURL).protocol !== 'https:' && !isLocal(tokenURL)) {
    throw new TypeError('tokenURL: must start with https, or the client secret would be sent in clear; use https, or set the option insecure');
  }
  return addresses.every(isLocal) ? {} : { tls: {} };
}

function isLocal(address) {
  const { hostname } = new URL(address.includes('://') ? address : `nats://${address}`);
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}
