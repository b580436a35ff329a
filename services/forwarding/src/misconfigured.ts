/** Nothing is forwarded before a person has changed something; the message says what. */
export class Misconfigured extends Error {}
