// One thing the doctor looked at.
export interface Finding {
  readonly verdict: 'good' | 'odd' | 'bad';
  readonly what: string;
  readonly seen: string;
  readonly advice?: string;
}
