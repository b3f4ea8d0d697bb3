/* The side of the code: what is in code.so, called for each message of the other side. */

#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
    void *code = dlopen("./code.so", RTLD_NOW | RTLD_GLOBAL);
    int (*begin)(const char *) = code ? (int (*)(const char *))dlsym(code, "suite_begin") : NULL;
    if (argc < 2 || !begin) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    return begin(argv[1]);
}
