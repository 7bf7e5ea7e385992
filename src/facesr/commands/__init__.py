"""The commands of `facesr`, one module each.

`register` describes the command to argparse and names the function that runs it. Slow imports are
inside that function, so that `facesr --help` answers at once.
"""

from facesr.commands import (
    burst,
    card,
    compare,
    data,
    enhance,
    export,
    find_rate,
    lineage,
    profile,
    promote,
    reproduce,
    scoreboard,
    verify,
    versions,
)

# In the order of `facesr --help`.
COMMANDS = (
    enhance,
    burst,
    scoreboard,
    export,
    versions,
    lineage,
    verify,
    reproduce,
    compare,
    card,
    promote,
    data,
    find_rate,
    profile,
)
