// What stops a command for a reason that a person can do something about: shown as its sentence, without a stack.
export class CannotRun extends Error {
  constructor(sentence: string) {
    super(sentence);
    this.name = new.target.name;
  }
}
