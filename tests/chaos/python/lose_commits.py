"""Takes the last commits out of a store's SQLite file, as if they had never been.

    python lose_commits.py FILE COUNT

Prints how many there were to take.
"""

import sqlite3
import sys

file, count = sys.argv[1], int(sys.argv[2])
with sqlite3.connect(file) as database:
    taken = database.execute(
        "DELETE FROM gcs_journal WHERE seq IN"
        " (SELECT seq FROM gcs_journal ORDER BY seq DESC LIMIT ?)",
        (count,),
    )
print(taken.rowcount)
