// Who acts. Only a sign-in makes one (sign-in.ts): nobody can change anything under a name by writing it down.
export interface Actor {
  readonly name: string;
}

const signedIn = new WeakSet<Actor>();

export function admit(name: string): Actor {
  const actor = Object.freeze({ name });
  signedIn.add(actor);
  return actor;
}

export function assertSignedIn(actor: Actor): void {
  if (!signedIn.has(actor)) throw new Error(`BUG: ${actor.name} acts without having signed in`);
}
