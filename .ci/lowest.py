"""Print each requirement of a setup.cfg at its lower bound, for pip -c: 4.10 is 4.10.*."""

import configparser
import re
import sys

settings = configparser.ConfigParser()
settings.read(sys.argv[1], encoding="utf-8")
blocks = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
for line in "\n".join(blocks).split("\n"):
    if found := re.fullmatch(r"([\w.-]+)(?:>=|==)([\w.]+)", line.strip()):
        name, bound = found.groups()
        numbers = bound.split(".")
        exact = len(numbers) > 2
        sys.stdout.write(f"{name}=={bound if exact else '.'.join([*numbers, '0'][:2]) + '.*'}\n")
