/* Dates, business days and time zones. Dates are proleptic Gregorian, counted as days since 1970-01-01 inside. */

#include "../sdk/c/cryptlet.h"

#define YEAR_MIN 1900
#define YEAR_MAX 9999
#define TARGET_YEAR_MIN 1999
#define FED_YEAR_MIN 1986
#define DAY_S 86400
/* The longest run of days that no calendar here opens on is 4; this bounds the search all the same. */
#define CLOSED_DAYS_MAX 14

struct date {
    int32_t year, month, day;
};

/* A switch between standard and daylight time (POSIX TZ, form Mm.w.d/time). */
struct turn {
    int32_t time_s;
    uint8_t month, week, weekday;
};

/* Offsets in units of OFFSET_UNIT_S: the first since 1970, those that the tables hold, then the rule's two. */
struct zone {
    uint16_t start, count;
    int16_t first, standard, daylight;
    struct turn to_daylight, to_standard;
};

#include "zones.h"

/* ---- dates ---- */

static bool is_leap(int32_t year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int32_t days_in(int32_t year, int32_t month) {
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days since 1970-01-01: whole eras of 400 years, counted from 1 March. */
static int64_t day_number(struct date date) {
    int64_t year = date.month > 2 ? date.year : date.year - 1;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t month_from_march = (date.month + 9) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + date.day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static struct date date_of(int64_t number) {
    int64_t shifted = number + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int32_t month = (int32_t)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    return (struct date){
        (int32_t)(era * 400 + year_of_era + (month <= 2)),
        month,
        (int32_t)(day_of_year - (153 * month_from_march + 2) / 5 + 1),
    };
}

/* 0 is Sunday. 1970-01-01 was a Thursday. */
static int32_t weekday_of(int64_t number) {
    int32_t day = (int32_t)((number + 4) % 7);
    return day < 0 ? day + 7 : day;
}

static uint32_t packed(struct date date) {
    return (uint32_t)(date.year * 10000 + date.month * 100 + date.day);
}

static bool in_range(int64_t number) {
    return number >= day_number((struct date){YEAR_MIN, 1, 1}) && number <= day_number((struct date){YEAR_MAX, 12, 31});
}

static bool unpack(uint64_t value, struct date *date) {
    *date = (struct date){(int32_t)(value / 10000), (int32_t)(value / 100 % 100), (int32_t)(value % 100)};
    return date->year >= YEAR_MIN && date->year <= YEAR_MAX && date->month >= 1 && date->month <= 12 && date->day >= 1 &&
           date->day <= days_in(date->year, date->month);
}

/* ---- calendars ---- */

enum calendar { TARGET, US_FED, WEEKEND, UNKNOWN };

static enum calendar calendar_named(struct bytes name) {
    return equal(name, "TARGET") ? TARGET : equal(name, "US-FED") ? US_FED : equal(name, "WEEKEND") ? WEEKEND : UNKNOWN;
}

static int32_t first_year(enum calendar calendar) {
    return calendar == TARGET ? TARGET_YEAR_MIN : calendar == US_FED ? FED_YEAR_MIN : YEAR_MIN;
}

/* Easter Sunday of the Gregorian calendar (anonymous algorithm, Nature 1876). */
static int64_t easter(int32_t year) {
    int32_t golden = year % 19, century = year / 100, rest = year % 100;
    int32_t correction = (century - (century + 8) / 25 + 1) / 3;
    int32_t epact = (19 * golden + century - century / 4 - correction + 15) % 30;
    int32_t sunday = (32 + 2 * (century % 4) + 2 * (rest / 4) - epact - rest % 4) % 7;
    int32_t late = (golden + 11 * epact + 22 * sunday) / 451;
    int32_t from_march = epact + sunday - 7 * late + 114;
    return day_number((struct date){year, from_march / 31, from_march % 31 + 1});
}

/* Closing days of TARGET, as the ECB announced them: few in 1999, today's since 2002. */
static bool target_closed(int64_t number, struct date date) {
    bool since_2000 = date.year >= 2000;
    switch (date.month * 100 + date.day) {
        case 101:
        case 1225:
            return true;
        case 501:
        case 1226:
            return since_2000;
        case 1231:
            return date.year == 1999 || date.year == 2001;
        default: {
            int64_t from_easter = number - easter(date.year);
            return since_2000 && (from_easter == -2 || from_easter == 1);
        }
    }
}

/* Whether a day is the nth of its weekday in its month (5: the last). */
static bool is_nth(struct date date, int32_t nth) {
    return nth == 5 ? date.day + 7 > days_in(date.year, date.month) : (date.day - 1) / 7 + 1 == nth;
}

/* Holidays of the Federal Reserve Banks: one on a Sunday is kept on Monday, one on a Saturday is not kept at all. */
static bool fed_closed(int64_t number, struct date date) {
    enum { SUNDAY, MONDAY, THURSDAY = 4 };
    int32_t weekday = weekday_of(number);
    struct date kept = date;
    if (weekday == MONDAY) {
        struct date before = date_of(number - 1);
        int32_t sunday = before.month * 100 + before.day;
        bool moves = sunday == 101 || (sunday == 619 && before.year >= 2021) || sunday == 704 || sunday == 1111 || sunday == 1225;
        if (moves) {
            kept = before;
        }
    }
    switch (kept.month * 100 + kept.day) {
        case 101:
        case 704:
        case 1111:
        case 1225:
            return true;
        case 619:
            return kept.year >= 2021;
        default:
            break;
    }
    if (weekday == THURSDAY) {
        return date.month == 11 && is_nth(date, 4);
    }
    return weekday == MONDAY && ((date.month == 1 && is_nth(date, 3)) || (date.month == 2 && is_nth(date, 3)) ||
                                 (date.month == 5 && is_nth(date, 5)) || (date.month == 9 && is_nth(date, 1)) ||
                                 (date.month == 10 && is_nth(date, 2)));
}

static bool is_open(int64_t number, enum calendar calendar) {
    int32_t weekday = weekday_of(number);
    if (weekday == 0 || weekday == 6) {
        return false;
    }
    struct date date = date_of(number);
    return calendar == TARGET ? !target_closed(number, date) : calendar == US_FED ? !fed_closed(number, date) : true;
}

/* ---- time zones ---- */

static const struct zone *zone_named(struct bytes name) {
    size_t low = 0, high = ZONE_NAMES;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = compare(name, text(zone_names + zone_name_starts[middle]));
        if (order == 0) {
            return &zones[zone_of_name[middle]];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* The local second of a year at which a turn comes. */
static int64_t turn_at(struct turn turn, int32_t year) {
    int64_t first = day_number((struct date){year, turn.month, 1});
    int32_t to_weekday = (turn.weekday - weekday_of(first) + 7) % 7;
    int32_t day = to_weekday + (turn.week - 1) * 7;
    while (day >= days_in(year, turn.month)) {
        day -= 7;
    }
    return (first + day) * DAY_S + turn.time_s;
}

/* The offset that the zone's last rule gives. */
static int64_t ruled_offset(const struct zone *zone, int64_t unix_s) {
    int64_t standard = zone->standard * OFFSET_UNIT_S, daylight = zone->daylight * OFFSET_UNIT_S;
    if (zone->to_daylight.month == 0) {
        return standard;
    }
    int64_t local = unix_s + standard;
    int32_t year = date_of((local >= 0 ? local : local - DAY_S + 1) / DAY_S).year;
    int64_t start = turn_at(zone->to_daylight, year) - standard, end = turn_at(zone->to_standard, year) - daylight;
    bool is_daylight = start < end ? unix_s >= start && unix_s < end : unix_s >= start || unix_s < end;
    return is_daylight ? daylight : standard;
}

/* Seconds that clocks are ahead of UTC at an instant. */
static int64_t offset_at(const struct zone *zone, int64_t unix_s) {
    const uint32_t *times = zone_times + zone->start;
    size_t low = 0, high = zone->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((int64_t)times[middle] <= unix_s) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0 && zone->count > 0) {
        return zone->first * OFFSET_UNIT_S;
    }
    return low == zone->count ? ruled_offset(zone, unix_s) : zone_offsets[zone->start + low - 1] * OFFSET_UNIT_S;
}

/* The instant of a local time: the first of two (RFC 5545), or moved on by the gap. */
static int64_t instant_of(const struct zone *zone, int64_t local_s) {
    /* No offset is further from UTC than these, so the two instants enclose every one that could be meant. */
    int64_t before = offset_at(zone, local_s - 15 * 3600), after = offset_at(zone, local_s + 13 * 3600);
    if (offset_at(zone, local_s - before) == before) {
        return local_s - before;
    }
    return offset_at(zone, local_s - after) == after ? local_s - after : local_s - before;
}

/* ---- methods ---- */

static struct answer bad_date(void) {
    return refuse(INVALID_INPUT, "not a date as YYYYMMDD from 19000101 to 99991231");
}

static struct answer business_day(struct bytes input, bool next) {
    struct date date;
    if (!unpack(word_in(input, 0), &date)) {
        return bad_date();
    }
    enum calendar calendar = calendar_named(string_in(input, 1));
    if (calendar == UNKNOWN) {
        return refuse(INVALID_INPUT, "unknown calendar; known are TARGET, US-FED and WEEKEND");
    }
    if (date.year < first_year(calendar)) {
        return refuse(INVALID_INPUT, "the calendar begins later: TARGET in 1999, US-FED in 1986");
    }
    int64_t number = day_number(date);
    if (!next) {
        return word_out(is_open(number, calendar));
    }
    for (int32_t ahead = 0; ahead < CLOSED_DAYS_MAX && in_range(number + ahead); ahead++) {
        if (is_open(number + ahead, calendar)) {
            return word_out(packed(date_of(number + ahead)));
        }
    }
    return bad_date();
}

static struct answer add_days(struct bytes input) {
    struct date date;
    if (!unpack(word_in(input, 0), &date)) {
        return bad_date();
    }
    int64_t number = day_number(date) + (int64_t)word_in(input, 1);
    return in_range(number) ? word_out(packed(date_of(number))) : bad_date();
}

static struct answer add_months(struct bytes input) {
    struct date date;
    if (!unpack(word_in(input, 0), &date)) {
        return bad_date();
    }
    int64_t months = (int64_t)date.year * 12 + date.month - 1 + (int64_t)word_in(input, 1);
    if (months / 12 > YEAR_MAX) {
        return bad_date();
    }
    date.year = (int32_t)(months / 12);
    date.month = (int32_t)(months % 12) + 1;
    int32_t last = days_in(date.year, date.month);
    date.day = date.day < last ? date.day : last;
    return word_out(packed(date));
}

static struct answer days_between(struct bytes input) {
    struct date first, second;
    if (!unpack(word_in(input, 0), &first) || !unpack(word_in(input, 1), &second)) {
        return bad_date();
    }
    return word_out(day_number(second) - day_number(first));
}

static struct answer weekday(struct bytes input) {
    struct date date;
    if (!unpack(word_in(input, 0), &date)) {
        return bad_date();
    }
    int32_t day = weekday_of(day_number(date));
    return word_out(day == 0 ? 7 : day);
}

static struct answer unknown_zone(void) {
    return refuse(INVALID_INPUT, "unknown time zone; give a name of the IANA database such as Europe/Berlin");
}

static struct answer to_utc(struct bytes input) {
    struct date date;
    uint64_t seconds = word_in(input, 1);
    if (!unpack(word_in(input, 0), &date)) {
        return bad_date();
    }
    if (seconds >= DAY_S) {
        return refuse(INVALID_INPUT, "a day has the seconds 0 to 86399");
    }
    const struct zone *zone = zone_named(string_in(input, 2));
    if (zone == NULL) {
        return unknown_zone();
    }
    int64_t instant = instant_of(zone, day_number(date) * DAY_S + (int64_t)seconds);
    return instant < 0 ? refuse(INVALID_INPUT, "the instant is before 1970-01-01T00:00:00Z") : word_out(instant);
}

static struct answer from_utc(struct bytes input) {
    uint64_t instant = word_in(input, 0);
    const struct zone *zone = zone_named(string_in(input, 1));
    if (zone == NULL) {
        return unknown_zone();
    }
    if (instant > (uint64_t)day_number((struct date){YEAR_MAX, 12, 30}) * DAY_S) {
        return refuse(INVALID_INPUT, "the instant is after the year 9999");
    }
    int64_t local = (int64_t)instant + offset_at(zone, (int64_t)instant);
    int64_t number = (local >= 0 ? local : local - DAY_S + 1) / DAY_S;
    int64_t out[] = {packed(date_of(number)), local - number * DAY_S};
    return words_out(out, 2);
}

struct answer handle(struct bytes method, struct bytes input) {
    return equal(method, "nextBusinessDay") ? business_day(input, true)
         : equal(method, "isBusinessDay")   ? business_day(input, false)
         : equal(method, "addDays")         ? add_days(input)
         : equal(method, "addMonths")       ? add_months(input)
         : equal(method, "daysBetween")     ? days_between(input)
         : equal(method, "weekday")         ? weekday(input)
         : equal(method, "toUtc")           ? to_utc(input)
         : equal(method, "fromUtc")         ? from_utc(input)
                                            : refuse(INVALID_INPUT, "calendar has no such method");
}
