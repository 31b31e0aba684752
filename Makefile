# llmrun.  `make demo` installs what is missing, builds, and runs the bundled model; `make test` proves it right.
#
#   make            the program, the shared and the static library, the GPU backends, in build/
#   make demo       the bundled model tells a story
#   make test       every test, sanitizers included        make san    the sanitizer builds alone
#   make fuzz       the fuzz targets (clang)               make bench  kernels, then a 1.1B model's shape: some minutes
#   make install    PREFIX= DESTDIR= LIBDIR=               make deps   installs missing Debian packages
#   V=1 shows the commands of the build.
VERSION   := 0.1.0
SOVERSION := 0
PREFIX    ?= /usr/local
LIBDIR    ?= $(PREFIX)/lib
DESTDIR   ?=
BUILD     ?= build
OPT       ?= -O2 -g
SAN       ?=
JOBS      ?= $(shell nproc)
Q         := $(if $(V),,@)
SUBMAKE    = $(MAKE) --no-print-directory
ifeq ($(origin CC),default)
CC := gcc
endif

WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wpointer-arith -Wvla -Werror=implicit-function-declaration
CFLAGS   += -std=c17 -D_GNU_SOURCE -I. $(OPT) $(WARN) $(SAN) -fPIC -fvisibility=hidden -ffp-contract=off -MMD -MP
LDLIBS   := -lcjson -lpcre2-8 -lutf8proc -lpthread -ldl -lm
PACKAGES := gcc g++ make pkg-config libcjson-dev libpcre2-dev libutf8proc-dev libreadline-dev
TEST_PACKAGES := $(PACKAGES) libcmocka-dev
FUZZ_PACKAGES := $(PACKAGES) clang libclang-rt-dev

LIB_SRC := $(wildcard runtime/*.c kernels/*.c kernels/cpu/*.c loaders/*.c quant/*.c models/*.c)
CLI_SRC := $(wildcard runtime/cli/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
CLI_OBJ := $(CLI_SRC:%.c=$(BUILD)/%.o)
BENCHES := $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/bench/*.c))
TESTS   := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
# Tests that use more than one thread: these are built for the thread sanitizer too.
THREADED := $(patsubst tests/%.c,$(BUILD)/tests/%,$(shell grep -l 'pthread_create\|lr_threads_' tests/test_*.c))

READLINE := $(shell printf '\043include <stdio.h>\n\043include <readline/readline.h>\n' | $(CC) -E -xc - >/dev/null 2>&1 && echo 1)
$(BUILD)/runtime/cli/%.o: CFLAGS += -DLLMRUN_SHARE='"$(PREFIX)/share/llmrun"'
$(BUILD)/runtime/backends.o: CFLAGS += -DLLMRUN_LIBDIR='"$(LIBDIR)"'
ifeq ($(READLINE),1)
CLI_LIBS := -lreadline
$(BUILD)/runtime/cli/%.o: CFLAGS += -DHAVE_READLINE
endif

# ---- build ----

all: host sim cuda
host: $(BUILD)/llmrun $(BUILD)/libllmrun.so $(BUILD)/libllmrun.a

# One file per instruction set: the suffix of its name picks the flags, run-time dispatch picks the file.
$(BUILD)/%_avx2.o: CFLAGS += -mavx2 -mfma -mf16c
$(BUILD)/%_avx512.o: CFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mavx512vbmi \
                               -mfma -mf16c -mprefer-vector-width=512

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

$(BUILD)/libllmrun.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/libllmrun.so: $(LIB_OBJ) runtime/llmrun.map
	@echo "  link $@"
	$(Q)$(CC) $(SAN) -shared -Wl,-soname,libllmrun.so.$(SOVERSION) -Wl,--no-undefined \
	    -Wl,--version-script=runtime/llmrun.map -o $@ $(LIB_OBJ) $(LDLIBS)

$(BUILD)/llmrun: $(CLI_OBJ) $(BUILD)/libllmrun.a
	@echo "  link $@"
	$(Q)$(CC) $(SAN) -o $@ $^ $(LDLIBS) $(CLI_LIBS)

$(BUILD)/tests/%: tests/%.c $(BUILD)/libllmrun.a
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CC) $(CFLAGS) -o $@ $< $(BUILD)/libllmrun.a -lcmocka $(LDLIBS)

$(BUILD)/bench/%: tests/bench/%.c $(BUILD)/libllmrun.a
	@mkdir -p $(@D)
	@echo "  compile $<"
	$(Q)$(CC) $(CFLAGS) -o $@ $< $(BUILD)/libllmrun.a $(LDLIBS)

# ---- run ----

demo:
	@sh tests/deps.sh $(PACKAGES)
	+@$(SUBMAKE) -j$(JOBS) host sim
	$(BUILD)/llmrun -p "Once upon a time" -n 120 --stats

# tests/run.sh runs what these targets build and prints one line for each, then "N passed, N failed, N skipped".
test:
	@sh tests/deps.sh $(TEST_PACKAGES)
	+@$(SUBMAKE) -j$(JOBS) host unit
	+@$(SUBMAKE) -j$(JOBS) asan-unit tsan-unit
	@BUILD=$(BUILD) MAKE="$(MAKE)" CC="$(CC)" NVCC="$(NVCC)" bash tests/run.sh nvcc gates headers unit kernels cli embed asan tsan

san:
	+@$(SUBMAKE) -j$(JOBS) asan-unit tsan-unit
	@BUILD=$(BUILD) bash tests/run.sh asan tsan

unit: $(TESTS) $(BUILD)/tests/checkkernels $(BUILD)/tests/json_check sim
threaded: $(THREADED) $(BUILD)/tests/checkkernels sim

SAN_OPT := -O1 -g1
ASAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
asan-unit:
	+@$(SUBMAKE) BUILD=$(BUILD)/asan SAN="$(ASAN)" OPT="$(SAN_OPT)" unit
tsan-unit:
	+@$(SUBMAKE) BUILD=$(BUILD)/tsan SAN="-fsanitize=thread" OPT="$(SAN_OPT)" threaded

# Each prints the rate at which memory is read in the same run: the measure of what decode can reach.
bench: all $(BENCHES)
	@for part in $(BENCHES); do echo "== $${part##*/}"; $$part || exit; echo; done
	@for quant in f16 q8_0 q4_k; do $(BUILD)/llmrun bench --model tests/bench/tinyllama-1.1b/config.json --quant $$quant || exit; done

-include kernels/sim/sim.mk kernels/cuda/cuda.mk
-include tests/fuzz/fuzz.mk
$(FUZZ_OBJ): | fuzz-deps
fuzz-deps:
	@sh tests/deps.sh $(FUZZ_PACKAGES)

# ---- install ----

SO := libllmrun.so
BIN_DIR  := $(DESTDIR)$(PREFIX)/bin
LIB_DIR  := $(DESTDIR)$(LIBDIR)
INC_DIR  := $(DESTDIR)$(PREFIX)/include
SHARE    := $(DESTDIR)$(PREFIX)/share
DEMO     := $(wildcard models/demo/*.json models/demo/*.safetensors models/demo/eval.txt)

install: all
	install -d $(BIN_DIR) $(LIB_DIR)/pkgconfig $(INC_DIR) $(SHARE)/man/man1 $(SHARE)/llmrun/demo \
	    $(SHARE)/bash-completion/completions
	install -m 755 $(BUILD)/llmrun $(BIN_DIR)/
	install -m 755 $(BUILD)/$(SO) $(LIB_DIR)/$(SO).$(VERSION)
	ln -sf $(SO).$(VERSION) $(LIB_DIR)/$(SO).$(SOVERSION)
	ln -sf $(SO).$(SOVERSION) $(LIB_DIR)/$(SO)
	install -m 755 $(SIM_LIB) $(CUDA_LIB) $(LIB_DIR)/
	install -m 644 $(BUILD)/libllmrun.a $(LIB_DIR)/
	install -m 644 runtime/llmrun.h $(INC_DIR)/
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$${prefix}/include' '' 'Name: llmrun' \
	    'Description: Runs transformer language models inside a memory budget' 'Version: $(VERSION)' \
	    'Requires.private: libcjson libpcre2-8 libutf8proc' 'Libs: -L$${libdir} -lllmrun' 'Libs.private: -lpthread -ldl -lm' \
	    'Cflags: -I$${includedir}' > $(LIB_DIR)/pkgconfig/llmrun.pc
	install -m 644 runtime/cli/llmrun.1 $(SHARE)/man/man1/
	install -m 644 runtime/cli/llmrun.bash $(SHARE)/bash-completion/completions/llmrun
	$(if $(DEMO),install -m 644 $(DEMO) $(SHARE)/llmrun/demo/)

uninstall:
	rm -f $(BIN_DIR)/llmrun $(LIB_DIR)/$(SO) $(LIB_DIR)/$(SO).$(SOVERSION) $(LIB_DIR)/$(SO).$(VERSION) \
	    $(LIB_DIR)/libllmrun-sim.so $(LIB_DIR)/libllmrun-cuda.so $(LIB_DIR)/libllmrun.a $(LIB_DIR)/pkgconfig/llmrun.pc $(INC_DIR)/llmrun.h $(SHARE)/man/man1/llmrun.1 \
	    $(SHARE)/bash-completion/completions/llmrun
	rm -rf $(SHARE)/llmrun

deps:
	@sh tests/deps.sh $(TEST_PACKAGES)

clean:
	rm -rf $(BUILD)

.PHONY: all host demo test san unit threaded asan-unit tsan-unit bench fuzz-deps install uninstall deps clean
-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(wildcard $(BUILD)/tests/*.d $(BUILD)/bench/*.d)
