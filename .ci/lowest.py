"""Print each requirement of a setup.cfg at its lower bound, as constraints for pip."""

import configparser
import re
import sys

settings = configparser.ConfigParser()
settings.read(sys.argv[1], encoding="utf-8")
blocks = [settings["options"]["install_requires"], *settings["options.extras_require"].values()]
for line in "\n".join(blocks).split("\n"):
    if found := re.fullmatch(r"([\w.-]+)(?:>=|==)([\w.]+)", line.strip()):
        sys.stdout.write("==".join(found.groups()) + "\n")
