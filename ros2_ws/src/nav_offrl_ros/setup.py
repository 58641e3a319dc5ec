from setuptools import find_packages, setup

NAME = "nav_offrl_ros"
NODES = ("navigator", "safety_gate", "sim_bridge", "replay_bridge", "drive_client")

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    maintainer="nav_offrl maintainers",
    maintainer_email="maintainers@example.com",
    description="Nodes that drive a robot to a goal photo, and stop it on every fault",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"{node} = {NAME}.{node}:main" for node in NODES]},
)
