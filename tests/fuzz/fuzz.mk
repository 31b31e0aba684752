# Fuzzing with libFuzzer: every tests/fuzz/fuzz_NAME.c is a target, tests/corpus/NAME/ its seeds.
#   make fuzz                     each target for FUZZ_SECONDS on a copy of its corpus
#   make fuzz FUZZ_SECONDS=300    longer;  make fuzz FUZZ=safetensors  one target
# A finding ends the run with status 1 and leaves its input as $(BUILD)/fuzz/NAME-crash-*.
FUZZ_SECONDS ?= 10
FUZZ         ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_CC      ?= clang
FUZZ_SAN     := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_CFLAGS  := -std=c17 -D_GNU_SOURCE -I. -O1 -g $(WARN) $(FUZZ_SAN) -ffp-contract=off -MMD -MP
# What the readers need, and no more: kernels and the engine would only slow the build down.
FUZZ_SRC     := runtime/base.c runtime/bind.c \
                $(wildcard quant/*.c loaders/*.c models/*.c runtime/hparams*.c runtime/tokenizer*.c runtime/jinja*.c)
FUZZ_OBJ     := $(FUZZ_SRC:%.c=$(BUILD)/fuzz/%.o)
FUZZ_BIN     := $(FUZZ:%=$(BUILD)/fuzz/%)

$(BUILD)/fuzz/%.o: %.c
	@mkdir -p $(@D)
	@echo "  compile $< (fuzz)"
	$(Q)$(FUZZ_CC) $(FUZZ_CFLAGS) $(filter -m%,$(CFLAGS)) -fsanitize=fuzzer-no-link -c -o $@ $<

$(FUZZ_BIN): $(BUILD)/fuzz/%: tests/fuzz/fuzz_%.c $(FUZZ_OBJ)
	@mkdir -p $(@D)
	@echo "  link $@"
	$(Q)$(FUZZ_CC) $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $< $(FUZZ_OBJ) $(LDLIBS)

fuzz-build: $(FUZZ_BIN)

fuzz: $(FUZZ_BIN)
	@set -e; for name in $(FUZZ); do \
	    work=$(BUILD)/fuzz/$$name-corpus; mkdir -p $$work; \
	    dict=tests/fuzz/$$name.dict; seeds=tests/corpus/$$name; \
	    echo "fuzz $$name: $(FUZZ_SECONDS) s"; \
	    $(BUILD)/fuzz/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
	        -artifact_prefix=$(BUILD)/fuzz/$$name-crash- -print_final_stats=1 \
	        $$(test ! -f $$dict || echo -dict=$$dict) $$work $$(test ! -d $$seeds || echo $$seeds) \
	        >$(BUILD)/fuzz/$$name.log 2>&1 || { tail -40 $(BUILD)/fuzz/$$name.log; exit 1; }; \
	    grep -E 'number_of_executed_units|peak_rss_mb' $(BUILD)/fuzz/$$name.log; \
	done

.PHONY: fuzz fuzz-build
-include $(FUZZ_OBJ:.o=.d)
