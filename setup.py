"""Packaging of dps_perception: an ament_python package for colcon, an ordinary Python package for pip and uv."""

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "dps_perception"
HERE = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / PACKAGE / "__init__.py").read_text()).group(1)


def shared(*folders):
    """All files below the folders, as data_files that keep their place under share/dps_perception."""
    by_folder = {}
    for folder in folders:
        for path in sorted((HERE / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                relative = path.relative_to(HERE)
                by_folder.setdefault(f"share/{PACKAGE}/{relative.parent.as_posix()}", []).append(relative.as_posix())
    return sorted(by_folder.items())


setup(
    name=PACKAGE,
    version=VERSION,
    description="Panoptic labels and metric depth from one camera: a ROS 2 node, training, evaluation, data",
    license="Apache-2.0",
    maintainer="dps_perception maintainers",
    maintainer_email="maintainers@dps-perception.invalid",
    python_requires=">=3.10",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["weights/*.safetensors", "**/*.j2", "**/*.html", "**/*.css", "**/*.json", "**/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *shared("launch", "config"),
    ],
    install_requires=["setuptools"],
    extras_require={"teachers": ["transformers"], "viewer": ["rerun-sdk"]},
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "dps_node = dps_perception.node.main:main",
            "dps_replay = dps_perception.node.replay:main",
            "dps_record = dps_perception.node.record:main",
            "dps_evaluate_live = dps_perception.node.live_evaluation:main",
            "dps_view = dps_perception.node.view:main",
            "dps_demo = dps_perception.node.demo:main",
            "dps_train = dps_perception.training.cli:main",
            "dps_evaluate = dps_perception.inference.evaluate:main",
            "dps_evaluate_tracking = dps_perception.inference.evaluate_tracking:main",
            "dps_benchmark = dps_perception.benchmark.cli:main",
            "dps_export = dps_perception.inference.export_cli:main",
            "dps_label = dps_perception.labelling.cli:main",
            "dps_synthesize = dps_perception.data.street.cli:main",
        ],
    },
)
