from tools.teaching.kit import main

main()
