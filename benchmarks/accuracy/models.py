"""What each model says of itself: its accuracy on validation frames, with sigmas calibrated on others.

    python benchmarks/accuracy/models.py

One JSON line for each model that ships and for the small ones of this folder, from its bundle
(`lls-decode train`, `lls-decode model recalibrate`); nothing is run.
"""

import json
from pathlib import Path

from lls_decode.model.bundle import load_bundle
from lls_decode.models import shipped

HERE = Path(__file__).resolve().parent


def main() -> None:
    for path in [*shipped(".lls").values(), *sorted(HERE.glob("*.lls"))]:
        info = load_bundle(path).info
        line = {"benchmark": "models", "model": info.name, "context": info.network.context}
        line |= {"variant": info.network.variant, "filters": info.network.filters}
        line |= {name: info.training[name] for name in ("steps", "seconds")}
        print(json.dumps(line | info.training["accuracy"]))


if __name__ == "__main__":
    main()
