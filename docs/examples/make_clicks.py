"""Makes clicks.csv: 1,500 visits of 60 people to the 40 articles of a shop, with their tastes.

The articles are of four kinds, and each person has a first and a second taste among them. Two
thirds of the visits are to the first, a quarter to the second; some articles of a kind are visited
more than others, and many are visited again.

    python docs/examples/make_clicks.py > docs/examples/clicks.csv
"""

import sys

import numpy as np

KINDS = ("garden", "kitchen", "music", "travel")
PEOPLE, ARTICLES_OF_A_KIND, VISITS = 60, 10, 1_500
SHARES = (0.67, 0.25, 0.08)  # of the visits: to the first taste, to the second, to any article
START, HOUR = 1_704_067_200, 3_600  # 2024-01-01; about a visit an hour


def main() -> None:
    """Write the file to standard output."""
    random = np.random.RandomState(7)  # whose streams are the same with every version of numpy
    tastes = [random.permutation(len(KINDS))[:2] for _ in range(PEOPLE)]
    popularity = np.arange(1, ARTICLES_OF_A_KIND + 1) ** -0.5
    popularity /= popularity.sum()
    lines = ["user,item,timestamp"]
    for visit in range(VISITS):
        person = random.randint(PEOPLE)
        which = random.choice(3, p=SHARES)
        kind = tastes[person][which] if which < 2 else random.randint(len(KINDS))
        if which < 2:
            article = random.choice(ARTICLES_OF_A_KIND, p=popularity)
        else:
            article = random.randint(ARTICLES_OF_A_KIND)
        when = START + visit * HOUR + random.randint(HOUR)
        lines.append(f"p{person + 1:02},{KINDS[kind]}-{article + 1:02},{when}")
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
