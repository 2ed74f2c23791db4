"""What the extension's package holds is what CMake lists: a file forgotten there breaks only once installed."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def listed(cmake_file, variable):
    """Return the entries of set(variable …) in a CMake file."""
    text = re.sub(r"#.*", "", cmake_file.read_text())
    return re.search(rf"set\({variable}\s+([^)]*)\)", text)[1].split()


def files_in(folder):
    """Return the files that belong to the repository, or are about to, below `folder`, relative to it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return sorted(name for name in set(done.stdout.split("\n")) if (folder / name).is_file())


@pytest.mark.parametrize("module", ["PromptSegLib", "PromptSeg"])
def test_the_cmake_lists_equal_the_files_on_disk(module):
    cmake_file = ROOT / module / "CMakeLists.txt"
    scripts = listed(cmake_file, "MODULE_PYTHON_SCRIPTS")
    resources = listed(cmake_file, "MODULE_PYTHON_RESOURCES")
    files = [name for name in files_in(ROOT / module) if name != "CMakeLists.txt"]
    assert scripts == [name for name in files if name.endswith(".py")], f"MODULE_PYTHON_SCRIPTS in {cmake_file}"
    assert resources == [name for name in files if not name.endswith(".py")], f"…_RESOURCES in {cmake_file}"
    assert not any(name.startswith(("..", "/")) for name in scripts + resources), "such entries install nothing"


def test_the_library_is_installed_as_a_package_before_the_module():
    assert "WITH_SUBDIR" in (ROOT / "PromptSegLib" / "CMakeLists.txt").read_text()
    assert re.findall(r"add_subdirectory\((\w+)\)", (ROOT / "CMakeLists.txt").read_text()) == [
        "PromptSegLib",
        "PromptSeg",
    ]


@pytest.mark.parametrize(
    "name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "LICENSE_FILE", "README_FILE"]
)
def test_the_extension_tells_about_itself(name):
    text = (ROOT / "CMakeLists.txt").read_text()
    assert re.search(rf'set\(EXTENSION_{name} "[^"]+"\)', text)


def test_the_files_that_the_extension_names_are_there():
    text = (ROOT / "CMakeLists.txt").read_text()
    named = re.findall(r'CURRENT_SOURCE_DIR}/([^"]+)"', text) + re.findall(r'SlicerPromptSeg/main/([^"]+)"', text)
    assert len(named) == 4
    for name in named:
        assert (ROOT / name).is_file()


def test_the_icon_is_128_pixels_square():
    header = (ROOT / "PromptSeg" / "Resources" / "Icons" / "PromptSeg.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert header[16:24] == (128).to_bytes(4, "big") * 2


def test_no_package_of_ours_shadows_another_extension_s():
    assert not (ROOT / "__init__.py").exists()
    assert not (ROOT / "PromptSeg" / "__init__.py").exists()
    assert not list((ROOT / "Testing").rglob("__init__.py"))
