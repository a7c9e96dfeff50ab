"""Small situations of users, by family, through the command line: what they brought, what they typed, what they should
be told. A table a family; the tests beside the code hold the details."""
