/** Secrets and reports go in clear only within this machine, unless it is said otherwise. */

/** Gives what a connection needs to be encrypted where it must be. */
export function encrypted({ servers, tokenURL, insecure }) {
  const addresses = [servers].flat();
  if (insecure) {
    return {};
  }
  if (tokenURL && new URL(tokenURL).protocol !== 'https:' && !local(tokenURL)) {
    throw new TypeError('the token endpoint must be https, or the secret would be readable on the way; see option insecure');
  }
  return addresses.every(local) ? {} : { tls: {} };
}

function local(address) {
  const { hostname } = new URL(address.includes('://') ? address : `nats://${address}`);
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);
}
