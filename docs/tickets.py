"""Makes up support tickets for docs/tutorial.md: `python docs/tickets.py NIGHT`, as the table of a ticket system.

Each night's file has all tickets so far, with what such files have: semicolons, labels in several spellings, tickets
without a label, copies, and one text that two people have filed differently. Nothing in it is real.
"""

from __future__ import annotations

import csv
import random
import sys

A_NIGHT = {1: 700, 2: 1_400}  # tickets until that night
DEPARTMENTS = {
    "billing": (
        "the invoice for {month} lists {thing} twice; please correct it",
        "I was charged {money} for {thing} and have never ordered it",
        "when will the {money} for {thing} be paid back?",
        "our accounting needs a receipt for {thing}, {month}",
        "the price of {thing} rose to {money} without notice",
        "my card was debited {money} in {month} although {thing} is free",
        "can we pay {thing} by the year instead of {money} a month?",
        "the discount on {thing} is missing from what you sent in {month}",
    ),
    "technical": (
        "{thing} shows error {number} since the update in {month}",
        "{thing} is very slow: {number} seconds until a page opens",
        "after an hour {thing} freezes and I have to start again",
        "the export of {thing} ends with a blank file of {number} bytes",
        "{thing} crashes when I attach a picture; code {number}",
        "nothing happens when I press save in {thing}",
        "the numbers in {thing} do not add up after the import of {month}",
        "{thing} prints question marks instead of umlauts",
    ),
    "account": (
        "I cannot sign in to {thing}: it says that {name} is unknown",
        "please change the address of {name} to our new office",
        "{name} has left us; who inherits access to {thing}?",
        "the link to reset my password for {thing} has expired",
        "how do I invite {name} to {thing}?",
        "{name} gets no code on the telephone when opening {thing}",
        "please delete the profile of {name} and all that {thing} knows",
        "two of us share one user in {thing}; {name} needs an own one",
    ),
}
THINGS = (
    "the calendar", "the web shop", "the mailbox", "your app", "the backup", "the address book", "the basic plan",
    "the survey tool", "the archive", "the team plan", "the report module", "the printer service", "the time sheet",
)  # fmt: skip
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")
NAMES = ("Ana Ruiz", "B. Okafor", "Chen Li", "Dora Weiss", "Emil Novak", "Farah Aziz", "Greta Lund", "Hugo Silva")
MATTERS = {
    "billing": ("the invoice", "a refund", "the price", "the receipt", "a wrong charge"),
    "technical": ("the crash", "the slow pages", "the error message", "the blank export", "the frozen screen"),
    "account": ("my password", "a new user", "the sign-in", "the old profile", "the access code"),
}
# Of two matters the later one counts, which words alone do not tell.
CHANGES = (
    "last week I asked about {before} and today {now} is the problem",
    "thanks for settling {before} but what about {now} then",
    "this is not about {before} any more but {now} is",
    "we came for {before} and now it is {now} that we need help with",
)
CHANGED = 0.75  # share of such tickets
OPENINGS = ("", "", "", "Hello, ", "Hi there, ", "Good morning! ", "Dear team, ", "Urgent: ")
ENDINGS = ("", "", "", ".", ". Thanks!", ". Kind regards", " - please help", ". This is the third time I ask")
CHANNELS = ("mail", "phone", "web")


def ticket(number: int, drawn: random.Random) -> list[str]:
    """Returns a row: number, channel, message, department."""
    department = drawn.choice(list(DEPARTMENTS))
    words = {
        "thing": drawn.choice(THINGS),
        "month": drawn.choice(MONTHS),
        "name": drawn.choice(NAMES),
        "money": f"{drawn.randint(3, 90)},{drawn.randint(10, 99)} EUR",
        "number": str(drawn.randint(2, 900)),
    }
    told = drawn.choice(DEPARTMENTS[department]).format(**words)
    if drawn.random() < CHANGED:
        other = drawn.choice([each for each in DEPARTMENTS if each != department])
        before, now = drawn.choice(MATTERS[other]), drawn.choice(MATTERS[department])
        told = drawn.choice(CHANGES).format(before=before, now=now)
    text = f"{drawn.choice(OPENINGS)}{told}{drawn.choice(ENDINGS)}"
    return [str(number), drawn.choice(CHANNELS), text[0].upper() + text[1:], spelt(department, drawn)]


def spelt(department: str, drawn: random.Random) -> str:
    """Returns a label as people write it: mostly right."""
    if drawn.random() < 0.94:
        return department
    return drawn.choice((department.title(), f"{department} ", department.upper(), ""))


def tickets(night: int) -> list[list[str]]:
    """Returns all rows until that night; those of earlier nights come first and stay the same."""
    drawn = random.Random(7)
    rows: list[list[str]] = []
    for number in range(A_NIGHT[night]):
        rows.append(ticket(number, drawn) if number % 25 != 24 else [str(number), *rows[drawn.randrange(number)][1:]])
    rows[12][2] = rows[11][2] = "The web shop shows the wrong price since the update"
    rows[11][3], rows[12][3] = "billing", "technical"
    return rows


if __name__ == "__main__":
    table = csv.writer(sys.stdout, delimiter=";", lineterminator="\n")
    table.writerow(["ticket", "channel", "message", "department"])
    table.writerows(tickets(int(sys.argv[1])))
