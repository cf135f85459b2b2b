// Dates as contracts have them (yyyymmdd), worked out independently of the project's own calendar.

/** The date of an instant's day in UTC. */
export function toDate(instant) {
  return instant.getUTCFullYear() * 10_000 + (instant.getUTCMonth() + 1) * 100 + instant.getUTCDate();
}

/** Midnight in UTC of a date. */
export function toInstant(date) {
  return new Date(Date.UTC(Math.floor(date / 10_000), (Math.floor(date / 100) % 100) - 1, date % 100));
}

/** 1 is Monday, 7 is Sunday. */
export function weekday(date) {
  return ((toInstant(date).getUTCDay() + 6) % 7) + 1;
}

/** The same day so many months later, or the month's last. */
export function addMonths(date, months) {
  const year = Math.floor(date / 10_000);
  const month = (Math.floor(date / 100) % 100) - 1 + months;
  const last = new Date(Date.UTC(year, month + 1, 0)).getUTCDate();
  return toDate(new Date(Date.UTC(year, month, Math.min(date % 100, last))));
}

/** The Sunday of Easter: Meeus, Jones and Butcher. */
function easter(year) {
  const a = year % 19;
  const [b, c] = [Math.floor(year / 100), year % 100];
  const h = (19 * a + b - Math.floor(b / 4) - Math.floor((b - Math.floor((b + 8) / 25) + 1) / 3) + 15) % 30;
  const l = (32 + 2 * (b % 4) + 2 * Math.floor(c / 4) - h - (c % 4)) % 7;
  const m = Math.floor((a + 11 * h + 22 * l) / 451);
  const n = h + l - 7 * m + 114;
  return Date.UTC(year, Math.floor(n / 31) - 1, (n % 31) + 1);
}

const DAY_MS = 86_400_000;

/** Whether TARGET settles on a date (since 2002). */
export function isTargetDay(date) {
  if (weekday(date) > 5) return false;
  const year = Math.floor(date / 10_000);
  if ([101, 501, 1225, 1226].includes(date % 10_000)) return false;
  const sunday = easter(year);
  return ![sunday - 2 * DAY_MS, sunday + DAY_MS].includes(toInstant(date).getTime());
}

/** The date itself if TARGET settles then, or the next on which it does. */
export function nextTargetDay(date) {
  let day = date;
  while (!isTargetDay(day)) day = toDate(new Date(toInstant(day).getTime() + DAY_MS));
  return day;
}
