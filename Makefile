# `make help` lists what there is to run. Everything that is installed for Redline lands in .venv, except for the
# system packages of `make system`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help system venv venv-dev venv-bench demo test torture system-office office bench lint format lock clean

PYTHON ?=
ARGS ?=
JOBS ?= 2

# Shell functions for the recipes.
define FUNCTIONS
say() { printf '==> %s\n' "$$*"; }
fail() { printf 'make: %s\n' "$$*" >&2; exit 1; }

is_recent() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
makes_venvs() { "$$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Prints the Python to build .venv with: one that can, or else the first that is new enough.
pick_python() {
    local name second=""
    for name in $(if $(PYTHON),'$(PYTHON)') python3.12 python3.11 python3.13 python3; do
        is_recent "$$name" || continue
        if makes_venvs "$$name"; then echo "$$name"; return; fi
        second="$${second:-$$name}"
    done
    [ -n "$$second" ] || return 1
    echo "$$second"
}

has_postgis() {
    local programs version
    for programs in /usr/lib/postgresql/*/bin; do
        version="$$(basename "$$(dirname "$$programs")")"
        case "$$version" in *[!0-9]*) continue;; esac
        if [ "$$version" -ge 15 ] && [ -x "$$programs/initdb" ] &&
            [ -e "/usr/share/postgresql/$$version/extension/postgis.control" ]; then return 0; fi
    done
    return 1
}

# Makes `apt`, which installs as root; $$@ is what is missing.
as_root() {
    sudo=()
    if [ "$$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "Missing: $$*. Installing needs root: run 'make $@' as root once."
        sudo=(sudo)
    fi
    apt() { "$${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$$@"; }
}

# Makes .venv hold what is locked in file $$2; $$1 is runtime, dev or bench. Fast when it does already.
sync_venv() {
    local kind="$$1" lock="$$2" stamp python
    exec 9<Makefile
    flock 9 # Two makes in one clone take turns.
    stamp="$$(stamp_of "$$kind" "$$lock")"
    if [ -e "$$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then return; fi
    if [ -e .venv/.unfinished ] || ! is_recent .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1
    then
        python="$$(pick_python)" || fail 'Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3'
        say "Making .venv with $$("$$python" --version)"
        rm -rf .venv
        mkdir .venv
        touch .venv/.unfinished
        "$$python" -m venv .venv
    fi
    # Were pip killed from here on, the next make would begin afresh.
    touch .venv/.unfinished
    say "Installing the $$kind packages (some hundred megabytes the first time)"
    # Not compiled ahead: most of these modules are never imported, and compiling all takes longer than the rest.
    local pip=(.venv/bin/python -m pip --disable-pip-version-check install --no-compile)
    "$${pip[@]}" --progress-bar off --require-hashes -r "$$lock"
    "$${pip[@]}" --quiet --no-deps --no-build-isolation -e .
    rm -f .venv/.runtime-* .venv/.dev-* .venv/.bench-*
    touch "$$(stamp_of runtime requirements.lock)" # The dev packages include these, the bench packages both.
    [ "$$kind" != bench ] || touch "$$(stamp_of dev requirements-dev.lock)"
    touch "$$stamp"
    rm .venv/.unfinished
}

# A changed lock or project file, or a clone moved elsewhere, has another stamp.
stamp_of() { echo ".venv/.$$1-$$({ cat "$$2" pyproject.toml; pwd; } | sha256sum | cut -c 1-16)"; }
endef

help: ## List the targets
	@echo 'make TARGET [ARGS="…"]'
	sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' Makefile | expand -t 16

system: ## Install missing system packages (Debian): PostgreSQL with PostGIS, python3-venv, curl, jq, gdal-bin
	@$(FUNCTIONS)
	missing=()
	has_postgis || missing+=(postgis)
	command -v curl >/dev/null || missing+=(curl)
	command -v jq >/dev/null || missing+=(jq)
	command -v ogrinfo >/dev/null || missing+=(gdal-bin)
	if ! [ -x .venv/bin/python ]; then
	    python="$$(pick_python)" || fail 'Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3'
	    makes_venvs "$$python" || missing+=(python3-venv)
	fi
	[ $${#missing[@]} -gt 0 ] || exit 0
	command -v apt-get >/dev/null || fail "Missing: $${missing[*]}. This is not a Debian system: install PostgreSQL 15" \
	    "or newer with PostGIS 3, curl, jq, GDAL's programs and Python's venv yourself, or set REDLINE_DATABASE_URL."
	as_root "$${missing[@]}"
	say "Installing system packages for: $${missing[*]}"
	apt update
	packages=()
	for name in "$${missing[@]}"; do
	    if [ "$$name" = postgis ]; then
	        # Debian 12 has it for PostgreSQL 15; other releases have one other version each.
	        name="$$(apt-cache pkgnames postgresql- | grep -E '^postgresql-(1[5-9]|[2-9][0-9])-postgis-3$$' | sort -V | sed -n 1p)"
	        [ -n "$$name" ] || fail 'No package postgresql-15-postgis-3, or of a newer PostgreSQL, in the package sources.'
	    elif [ "$$name" = python3-venv ]; then
	        name="$$("$$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"
	        apt-cache show "$$name" >/dev/null 2>&1 || name=python3-venv
	    fi
	    packages+=("$$name")
	done
	# Installing the server would make and start a cluster for the whole machine: not this time.
	configuration=/etc/postgresql-common/createcluster.d/redline.conf
	trap '"$${sudo[@]}" rm -f "$$configuration"' EXIT
	"$${sudo[@]}" mkdir -p "$$(dirname "$$configuration")"
	echo 'create_main_cluster = false' | "$${sudo[@]}" tee "$$configuration" >/dev/null
	apt install -y --no-install-recommends "$${packages[@]}"

system-office: ## Install LibreOffice, the Noto CJK fonts and poppler, for PDF and make office (Debian)
	@$(FUNCTIONS)
	missing=()
	for part in calc:sc writer:sw; do
	    command -v soffice >/dev/null &&
	        [ -e "$$(dirname "$$(readlink -f "$$(command -v soffice)")")/lib$${part#*:}lo.so" ] ||
	        missing+=("libreoffice-$${part%:*}-nogui")
	done
	fc-list :lang=zh family 2>/dev/null | grep -q 'Noto Sans CJK' || missing+=(fonts-noto-cjk fontconfig)
	command -v pdftoppm >/dev/null || missing+=(poppler-utils)
	[ $${#missing[@]} -gt 0 ] || exit 0
	command -v apt-get >/dev/null || fail "Missing: $${missing[*]}; install LibreOffice Calc and Writer, the Noto CJK fonts and poppler yourself."
	as_root "$${missing[@]}"
	say "Installing system packages: $${missing[*]}"
	apt update && apt install -y --no-install-recommends "$${missing[@]}" ||
	    fail "No package source within reach gave these; install them yourself: $${missing[*]}"

venv: ## Make .venv with the packages that the service needs
	@$(FUNCTIONS)
	sync_venv runtime requirements.lock

venv-dev: ## Make .venv with those for tests and checks, too
	@$(FUNCTIONS)
	sync_venv dev requirements-dev.lock

venv-bench: ## Make .venv with the peers that benchmarks run, too
	@$(FUNCTIONS)
	sync_venv bench requirements-bench.lock

demo: system venv ## Load the sample, run monitoring and serve on http://127.0.0.1:8000
	@exec .venv/bin/redline demo $(ARGS)

test: system venv-dev ## Run the tests
	@exec .venv/bin/python -m pytest -n $(JOBS) $(ARGS)

torture: system venv-dev ## Kill workers, fill disks, restart databases, many times
	@exec .venv/bin/python -m pytest -n $(JOBS) -m torture tests $(ARGS)

office: system system-office venv-dev ## Run the tests that go through LibreOffice
	@exec .venv/bin/python -m pytest -n $(JOBS) -m office tests/office $(ARGS)

bench: system venv-bench ## Run the benchmarks
	@exec .venv/bin/python -m tests.bench $(ARGS)

lint: venv-dev ## Check style, types and import rules
	@.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy

format: venv-dev ## Rewrite the sources in the project's style
	@.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: ## Write the lock files anew, with the newest versions that pyproject.toml allows
	@$(FUNCTIONS)
	python="$$(pick_python)" || fail 'Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3'
	scratch="$$(mktemp -d)"
	trap 'rm -rf "$$scratch"' EXIT
	"$$python" -m venv "$$scratch"
	"$$scratch/bin/pip" --disable-pip-version-check install --quiet uv
	compile() {
	    "$$scratch/bin/uv" pip compile pyproject.toml --upgrade --quiet --generate-hashes --no-emit-index-url \
	        --no-annotate --universal --python-version 3.11 --custom-compile-command 'make lock' "$$@"
	}
	compile --extra dev -o "$$scratch/dev.lock"
	# The service runs on the very versions that the tests ran on.
	compile --constraint "$$scratch/dev.lock" -o "$$scratch/runtime.lock"
	# A peer of the benchmarks must not decide what the tests run on.
	compile --extra dev --extra bench --constraint "$$scratch/dev.lock" -o "$$scratch/bench.lock"
	mv "$$scratch/dev.lock" requirements-dev.lock
	mv "$$scratch/bench.lock" requirements-bench.lock
	mv "$$scratch/runtime.lock" requirements.lock

clean: ## Remove .venv and what the tools cached; the data in .redline stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist ./*.egg-info
	find . -path ./.redline -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
